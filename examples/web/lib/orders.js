// GET /api/orders                the customer's, newest first
// GET /api/orders/:id            { id, version, state, lines, total, note, history }
// POST /api/orders               { note }, If-Match: the cart's ETag: buys what is in it
// POST /api/orders/:id/approve, …/ship, …/cancel       If-Match: the order's ETag
// GET /api/rules                 which state allows which action
//
// Buying is one call: the cart is emptied, if it still is what was seen, the points are spent,
// the stock is taken and the order is placed, or nothing of it. The order's id comes from the
// Idempotency-Key: so a repeat finds it, says exactly the same, whatever the cart holds by then,
// and gets the first answer.
import { createHash } from 'node:crypto'
import { conditionally, etag, preconditionFailed, requestId, unlessKnown } from './conditions.js'
import { Problem } from './problem.js'
import { text } from './input.js'

const ACTIONS = { approve: 'OrderApproved', ship: 'OrderShipped', cancel: 'OrderCancelled' }
const LISTED = 50

export function orderRoutes (database) {
  const accountOf = (customer, id) => `${customer}/order/${id}`

  async function order (customer, id, version = null) {
    const rows = await database.query(
      `SELECT version, event_type, state_after, payload, created_at FROM pointstore.load_events($1)
        WHERE $2::bigint IS NULL OR version <= $2 ORDER BY version`, [accountOf(customer, id), version])
    if (rows.length === 0) throw new Problem(404, 'no_such_order')
    const { lines, total, note } = rows[0].payload
    const last = rows.at(-1)
    const history = rows.map(row => ({ type: row.event_type, at: row.created_at }))
    return { id, version: last.version, state: last.state_after, lines, total, note, history }
  }

  async function list (request) {
    const rows = await database.query(
      `SELECT a.aggregate_id, a.version, a.state, s.state AS placed, e.created_at
         FROM pointstore.account a, pointstore.aggregate_state(a.aggregate_id, 1) s, pointstore.load_events(a.aggregate_id, 0, 1) e
        WHERE a.aggregate_id >= $1 AND a.aggregate_id < $2
        ORDER BY e.created_at DESC LIMIT $3`, [`${request.customer}/order/`, `${request.customer}/order0`, LISTED])
    const orders = rows.map(row => ({
      id: row.aggregate_id.split('/')[2], version: row.version, state: row.state, total: row.placed.total, at: row.created_at
    }))
    return { status: 200, body: { orders } }
  }

  async function get (request) {
    const current = await order(request.customer, request.params.id)
    return unlessKnown(request, etag(current.version), current)
  }

  async function buy (request) {
    const { customer } = request
    const key = requestId(request)
    const note = text(request.body, 'note', 200)
    const id = createHash('sha256').update(key).digest('hex').slice(0, 12)
    const read = async () => {
      const { version, state } = await database.state(`${customer}/cart`)
      return { version, lines: state }
    }
    return conditionally(request, `${customer}/cart`, read, async seen => {
      const { lines, expected } = await wanted(accountOf(customer, id), seen, await read())
      await database.append(key, purchase({ customer, id, lines, note, expected }))
      const placed = await order(customer, id, 1)
      return { status: 201, headers: { etag: etag(1), location: `/api/orders/${id}` }, body: placed }
    })
  }

  // What is bought: the cart that was seen. A repeat finds the order, and says what the first has said.
  async function wanted (account, seen, cart) {
    const [placed] = await database.query('SELECT payload FROM pointstore.load_events($1, 0, 1)', [account])
    if (placed) return { lines: placed.payload.lines, expected: seen }
    if (seen !== null && seen !== cart.version) throw preconditionFailed(cart, { expected_version: seen })
    if (Object.keys(cart.lines).length === 0) throw new Problem(409, 'cart_empty')
    return { lines: cart.lines, expected: cart.version }
  }

  // The cart first: of several refusals the first element's is told.
  function purchase ({ customer, id, lines, note, expected }) {
    const entries = Object.entries(lines).sort(([a], [b]) => a < b ? -1 : 1)
    const total = entries.reduce((sum, [, line]) => sum + line.quantity * line.price, 0)
    return [
      { aggregate_id: `${customer}/cart`, event_type: 'CheckedOut', payload: { order: id }, expected_version: expected },
      { aggregate_id: `${customer}/wallet`, event_type: 'OrderPaid', amount: -total, payload: { order: id } },
      ...entries.map(([sku, line]) => (
        { aggregate_id: `stock/${sku}`, event_type: 'Sold', amount: -line.quantity, payload: { order: id } })),
      { aggregate_id: accountOf(customer, id), event_type: 'OrderPlaced', payload: { lines, total, note }, expected_version: 0, kind: 'order' }
    ]
  }

  // The order first again: its state decides. A cancelled one gives back points and stock.
  function act (action) {
    return async request => {
      const { customer, params: { id } } = request
      const key = requestId(request)
      const { lines, total } = await order(customer, id)
      const account = accountOf(customer, id)
      return conditionally(request, account, () => order(customer, id), async expected => {
        const events = [{ aggregate_id: account, event_type: ACTIONS[action], payload: {}, expected_version: expected }]
        if (action === 'cancel') events.push(...refund({ customer, id, lines, total }))
        const [receipt] = await database.append(key, events)
        const after = await order(customer, id, receipt.version)
        return { status: 200, headers: { etag: etag(after.version) }, body: after }
      })
    }
  }

  function refund ({ customer, id, lines, total }) {
    return [
      { aggregate_id: `${customer}/wallet`, event_type: 'OrderRefunded', amount: total, payload: { order: id } },
      ...Object.entries(lines).map(([sku, line]) => (
        { aggregate_id: `stock/${sku}`, event_type: 'PutBack', amount: line.quantity, payload: { order: id } }))
    ]
  }

  async function rules () {
    const rows = await database.query("SELECT from_state, event_type FROM pointstore.transition WHERE kind = 'order' ORDER BY 1, 2")
    const allowed = {}
    for (const [action, type] of Object.entries(ACTIONS)) {
      for (const row of rows.filter(row => row.event_type === type)) (allowed[row.from_state] ??= []).push(action)
    }
    return { status: 200, body: { allowed } }
  }

  return [
    ['GET', '/api/orders', list],
    ['POST', '/api/orders', buy],
    ['GET', '/api/orders/:id', get],
    ...Object.keys(ACTIONS).map(action => ['POST', `/api/orders/:id/${action}`, act(action)]),
    ['GET', '/api/rules', rules]
  ]
}
