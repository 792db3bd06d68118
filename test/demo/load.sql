\echo
\echo '### A week of a loyalty programme, by COPY. The till has sent some lines twice: they are skipped.'
\echo '-- how often the file has one of them:'
\! grep -c order-88304-earn loyalty_week.csv
\copy pointstore.event_store (aggregate_id, event_type, amount, payload, request_id, occurred_at) FROM loyalty_week.csv WITH (FORMAT csv, HEADER)
\echo '-- lines in the file, and events in the store:'
\! tail -n +2 loyalty_week.csv | wc -l
SELECT count(*) AS events, count(DISTINCT request_id) AS requests, sum(amount) AS points FROM pointstore.event_store;
SELECT aggregate_id, version, balance, available, status FROM pointstore.account ORDER BY balance DESC LIMIT 3;

\echo '-- Monday''s receipt, booked on Sunday: both times are kept'
SELECT version, amount, occurred_at, created_at >= now() - interval '1 hour' AS booked_now
  FROM pointstore.event_store WHERE request_id = 'order-88097-earn';
