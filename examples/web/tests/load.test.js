// Many clients at once: each buys again and again, loses answers, sends twice, cancels. In the end
// everything must agree: orders, wallets, stock and what the clients were told.
import { after, before, test } from 'node:test'
import assert from 'node:assert/strict'
import { Caller, newKey, openShop } from './support.js'

const SECONDS = Number(process.env.LOAD_SECONDS ?? 5)
const CLIENTS = Number(process.env.LOAD_CLIENTS ?? 50)
const SKUS = ['green-tea', 'black-tea', 'rice-cake', 'cup']
let shop
before(async () => { shop = await openShop() })
after(() => shop.close())

const times = { add: [], buy: [], cancel: [], read: [] }
const counts = { orders: 0, cancelled: 0, doubled: 0, lost: 0, refused: 0, busy: 0 }

async function timed (what, work) {
  const start = performance.now()
  const answer = await work()
  times[what].push(performance.now() - start)
  return answer
}

const some = list => list[Math.floor(Math.random() * list.length)]

// The answer, or null where the client hung up before it came
async function perhapsLost (send) {
  if (Math.random() > 0.1) return send({})
  counts.lost++
  return send({ signal: AbortSignal.timeout(Math.ceil(Math.random() * 30)) }).catch(() => null)
}

// As a client should: until there is an answer that says what has become of it
async function insist (what, send) {
  for (;;) {
    const answer = await timed(what, () => perhapsLost(send))
    if (answer && answer.status !== 503) return answer
    if (answer) counts.busy++
  }
}

async function client (caller, end) {
  const orders = new Map()
  while (Date.now() < end) {
    const [sku, added] = [some(SKUS), newKey()]
    await insist('add', options => caller.post('/api/cart/items', { sku, quantity: 1 }, { key: added, ...options }))
    const { etag } = await timed('read', () => caller.get('/api/cart'))
    const key = newKey()
    const buy = options => caller.post('/api/orders', { note: '' }, { ifMatch: etag, key, ...options })
    const twice = Math.random() < 0.2
    if (twice) counts.doubled++
    const answers = await Promise.all(Array.from({ length: twice ? 2 : 1 }, () => insist('buy', buy)))
    assert.equal(new Set(answers.map(answer => JSON.stringify(answer.body))).size, 1)
    const [{ status, body }] = answers
    if (status === 409) {
      counts.refused++
      await insist('add', options => caller.post('/api/wallet/earn', { amount: 100000 }, { key: `earn-${key}`, ...options }))
      continue
    }
    assert.equal(status, 201, JSON.stringify(body))
    orders.set(body.id, body.total)
    if (Math.random() < 0.2) {
      const cancelKey = newKey()
      const cancelled = await insist('cancel', options => caller.post(`/api/orders/${body.id}/cancel`, {}, { ifMatch: '"1"', key: cancelKey, ...options }))
      assert.equal(cancelled.status, 200, JSON.stringify(cancelled.body))
      orders.set(body.id, 0)
    }
  }
  return orders
}

const quantile = (sorted, q) => sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))]

function report () {
  for (const [what, list] of Object.entries(times)) {
    const sorted = list.sort((a, b) => a - b)
    if (sorted.length > 0) console.log(`# ${what}: ${sorted.length} requests, p50 ${quantile(sorted, 0.5).toFixed(0)} ms, p99 ${quantile(sorted, 0.99).toFixed(0)} ms`)
  }
  console.log(`# ${CLIENTS} clients, ${SECONDS} s: ${Object.entries(counts).map(([name, n]) => `${n} ${name}`).join(', ')}`)
}

test(`${CLIENTS} clients for ${SECONDS} s: no order is lost or doubled, and all totals agree`, async () => {
  await shop.sql("SELECT pointstore.append_event('stock/' || sku, 'StockReceived', 1000000) FROM shop.product")
  const stockBefore = await stock()
  const callers = []
  for (let n = 0; n < CLIENTS; n++) callers.push(await Caller.arrive(shop))
  const end = Date.now() + 1000 * SECONDS
  const told = await Promise.all(callers.map(caller => client(caller, end)))
  for (const [n, orders] of told.entries()) {
    const { customer } = callers[n]
    const stored = await shop.sql(`SELECT split_part(aggregate_id, '/', 3) AS id, state,
        CASE state WHEN 'cancelled' THEN 0 ELSE (SELECT (payload ->> 'total')::int FROM pointstore.load_events(aggregate_id, 0, 1)) END AS total
      FROM pointstore.account WHERE aggregate_id >= $1 AND aggregate_id < $2`, [`${customer}/order/`, `${customer}/order0`])
    assert.deepEqual(new Map(stored.map(row => [row.id, row.total]).sort()), new Map([...orders].sort()))
    counts.orders += stored.length
    counts.cancelled += stored.filter(row => row.state === 'cancelled').length
    const [wallet] = await shop.sql(`SELECT b.balance::int AS balance, (SELECT sum(amount)::int FROM pointstore.load_events(b.aggregate_id) WHERE event_type IN ('Welcome', 'PointsEarned')) AS got
      FROM pointstore.get_balance($1) b`, [`${customer}/wallet`])
    assert.equal(wallet.balance, wallet.got - [...orders.values()].reduce((sum, total) => sum + total, 0))
  }
  const sold = await shop.one(`SELECT coalesce(sum((line.value ->> 'quantity')::int), 0)::int
    FROM pointstore.event_store e JOIN pointstore.account a USING (aggregate_id), jsonb_each(e.payload -> 'lines') line
    WHERE e.event_type = 'OrderPlaced' AND a.state <> 'cancelled' AND split_part(e.aggregate_id, '/', 1) = ANY ($1)`, [callers.map(caller => caller.customer)])
  assert.equal(stockBefore - await stock(), sold)
  assert.ok(counts.orders > CLIENTS / 10)
  await shop.sql("CALL pointstore.reconcile('full')")
  assert.equal(await shop.one('SELECT count(*)::int FROM pointstore.finding'), 0)
  report()
})

const stock = () => shop.one("SELECT sum(balance)::int FROM pointstore.account WHERE kind = 'stock'")
