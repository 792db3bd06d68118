// The hash is the server's, and eight clients notice nothing of an account's shard that moves to and fro. Run by test.

import pg from 'pg'
import { hashtext, Store } from './client.js'

let tests = 0
function ok(passed, name, detail) {
  console.log(`${passed ? 'ok' : 'not ok'} ${++tests} - ${name}`)
  if (!passed) console.log('# ' + JSON.stringify(detail))
}

const dba = new pg.Client()
await dba.connect()
const one = async (sql, values) => (await dba.query(sql, values)).rows[0]

const letters = ['user-', 'é', '계정', '😀', '']
const ids = Array.from({ length: 1000 }, (_, i) => letters[i % 5].repeat(i % 7) + String(i * 7919).repeat(i % 4))
const { rows } = await dba.query('SELECT id, hashtext(id COLLATE "C") AS hash FROM unnest($1::text[]) id', [ids])
const wrong = rows.filter(({ id, hash }) => hashtext(id) !== hash)
ok(rows.length === 1000 && wrong.length === 0, 'hashtext of 1,000 ids', wrong)

const run = `nodes-${Date.now()}`, accounts = Array.from({ length: 200 }, (_, i) => `${run}-${i}`)
const store = new Store({ max: 8 })
const errors = []
let appended = 0, longest = 0, moving = true
const clients = Promise.all([...Array(8).keys()].map(async client => {
  for (let i = 0; moving; i++) {
    const since = Date.now()
    try {
      await store.append(accounts[(i * 17 + client * 31) % 200], 'PointEarned', 1, `${run}-${client}-${i}`)
      appended++
    } catch (error) { errors.push(`${error.code} ${error.message}`) }
    longest = Math.max(longest, Date.now() - since)
  }
}))
const { rows: workers } = await dba.query('SELECT nodename AS host, nodeport AS port FROM pg_dist_node WHERE shouldhaveshards ORDER BY nodeid LIMIT 2')
let moves = 0
for (; moves < 4; moves++) {
  const at = await one('SELECT shard, host, port FROM pointstore.node_of($1)', [accounts[0]])
  const to = workers.find(worker => worker.port !== at.port || worker.host !== at.host)
  await dba.query("SELECT citus_move_shard_placement($1, $2, $3, $4, $5, 'force_logical')", [at.shard, at.host, at.port, to.host, to.port])
}
moving = false
await clients
ok(errors.length === 0 && appended > 100, `${appended} appends during ${moves} moves, the longest of ${longest} ms`, errors.slice(0, 5))
const { events } = await one('SELECT count(*)::int AS events FROM pointstore.event_store WHERE request_id LIKE $1', [`${run}-%`])
const { sum } = await one('SELECT sum(balance)::int AS sum FROM pointstore.balance WHERE aggregate_id LIKE $1', [`${run}-%`])
ok(events === appended && sum === appended, 'each is there once', { appended, events, sum })
console.log(`1..${tests}`)
await store.end()
await dba.end()
