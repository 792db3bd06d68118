\set payer random(1, :accounts)
\set payee case when :to_one then 0 else 1 + (:payer + random(0, :accounts - 2)) % :accounts end
\set request random(1, 9000000000000000000)
SELECT version, balance FROM pointstore.transfer(:payer, :payee, 1, :request, 'Transferred', '{"order": "A-1001", "channel": "app"}');
