\echo
\echo '### What was known at a time, and after an event'
SELECT created_at AS "when" FROM pointstore.event_store WHERE aggregate_id = 'member-1017' AND version = 3 \gset
SELECT pointstore.balance_at('member-1017', now() - interval '1 day') AS yesterday,
       pointstore.balance_at('member-1017', :'when') AS after_the_third_event,
       pointstore.balance_at('member-1017', clock_timestamp()) AS now,
       pointstore.balance_as_of('member-1017', 2) AS as_of_version_2;
