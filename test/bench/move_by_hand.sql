\set payer random(1, :accounts)
\set payee random(1, :accounts)
\set id random(1, 9000000000000000000)
SELECT coalesce('there' = ANY (dblink_get_connections()), false) AS connected \gset
\if :connected
\else
SELECT dblink_connect('there', :connection);
\endif
BEGIN;
SELECT phase FROM rival.decision WHERE request_id = 'm-' || :id;
SELECT rival.book('a-' || :payer, -1, 'm-' || :id, '{"order": "A-1001", "channel": "app"}');
SELECT dblink_exec('there', format('BEGIN; SELECT rival.book(%L, 1, %L, %L); PREPARE TRANSACTION %L', 'b-' || :payee, 'm-' || :id, '{"order": "A-1001", "channel": "app"}', 'm-' || :id));
INSERT INTO rival.decision (request_id, phase) VALUES ('m-' || :id, 'committed');
COMMIT;
SELECT dblink_exec('there', format('COMMIT PREPARED %L', 'm-' || :id));
