\echo
\echo '### The same request sent twice: applied once, the first receipt comes back'
SELECT outcome, version, balance FROM pointstore.append_event('member-1017', 'PointsSpent', -500, '{"order": "A-90001"}', request_id => 'order-90001');
SELECT outcome, version, balance FROM pointstore.append_event('member-1017', 'PointsSpent', -500, '{"order": "A-90001"}', request_id => 'order-90001');
\echo '-- and used for something else:'
SELECT pointstore.append_event('member-1017', 'PointsSpent', -900, '{"order": "A-90001"}', request_id => 'order-90001');
\echo '-- SQLSTATE' :LAST_ERROR_SQLSTATE

\echo
\echo '### A stale expected_version: as an error, and as an outcome'
SELECT pointstore.append_event('member-1017', 'PointsSpent', -100, expected_version => 2);
\echo '-- SQLSTATE' :LAST_ERROR_SQLSTATE
SELECT outcome, version, balance FROM pointstore.try_append_event('member-1017', 'PointsSpent', -100, expected_version => 2);

\echo
\echo '### A raw UPDATE of a balance, without its event'
UPDATE pointstore.balance SET balance = 1000000, version = version + 1 WHERE aggregate_id = 'member-1017';
\echo '-- SQLSTATE' :LAST_ERROR_SQLSTATE

\echo
\echo '### Events are append-only, for everybody'
UPDATE pointstore.event_store SET amount = 1000000 WHERE aggregate_id = 'member-1017';
\echo '-- SQLSTATE' :LAST_ERROR_SQLSTATE
TRUNCATE pointstore.event_store;
\echo '-- SQLSTATE' :LAST_ERROR_SQLSTATE
