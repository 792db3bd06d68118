BEGIN;
SELECT slot, epoch, max("position") AS last FROM pointstore.claim('bench', 'worker', 100) GROUP BY slot, epoch \gset
SELECT pointstore.ack('bench', :slot, :epoch, :last);
COMMIT;
