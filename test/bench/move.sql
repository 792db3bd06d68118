\set payer random(1, :accounts)
\set payee random(1, :accounts)
\set id random(1, 9000000000000000000)
SELECT phase FROM pointstore.move('a-' || :payer, :to_server || '-' || :payee, 1, 'm-' || :id, :to_server, :protocol, '{"order": "A-1001", "channel": "app"}');
SELECT phase FROM pointstore.wait_for_movement('m-' || :id, '60 s');
