\set payer random(1, :accounts)
\set payee 1 + (:payer + random(0, :accounts - 2)) % :accounts
\set request random(1, 9000000000000000000)
SELECT version, balance FROM pointstore.transfer('a-' || :payer, 'a-' || :payee, 1, :request, 'Transferred', '{"order": "A-1001", "channel": "app"}');
