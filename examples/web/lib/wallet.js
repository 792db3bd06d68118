// GET /api/wallet             what is in it, and the newest events
// POST /api/wallet/earn       { amount, reason }
// POST /api/wallet/spend      { amount, reason }
//
// Earning and spending need no If-Match: amounts add up in any order, and the floor refuses what
// is too much, whatever the caller had seen.
import { etag, requestId, unlessKnown } from './conditions.js'
import { Problem } from './problem.js'
import { text, wholeNumber } from './input.js'

const HISTORY = 20

export function walletRoutes (database) {
  async function wallet (customer) {
    const rows = await database.query(
      `SELECT b.version, b.balance, b.available,
              e.version AS event, e.event_type, e.amount, e.balance_after, e.payload ->> 'reason' AS reason, e.payload ->> 'order' AS "order", e.created_at
         FROM pointstore.get_balance($1) b,
              LATERAL pointstore.load_events($1, greatest(b.version - $2::integer, 0), $2) e
        WHERE e.version <= b.version
        ORDER BY e.version DESC`, [`${customer}/wallet`, HISTORY])
    if (rows.length === 0) throw new Problem(404, 'account_missing')
    const [{ version, balance, available }] = rows
    return { version, balance, available, history: rows.map(entryOf) }
  }

  const entryOf = row => ({
    version: row.event, type: row.event_type, amount: row.amount, balance: row.balance_after, reason: row.reason, order: row.order, at: row.created_at
  })

  async function get (request) {
    const current = await wallet(request.customer)
    return unlessKnown(request, etag(current.version), current)
  }

  function change (type, sign) {
    return async request => {
      const amount = wholeNumber(request.body, 'amount', 1, 1000000)
      const reason = text(request.body, 'reason', 100)
      const [receipt] = await database.append(requestId(request), [
        { aggregate_id: `${request.customer}/wallet`, event_type: type, amount: sign * amount, payload: { reason }, kind: 'wallet' }])
      return { status: 201, headers: { etag: etag(receipt.version) }, body: { version: receipt.version, balance: receipt.balance } }
    }
  }

  return [
    ['GET', '/api/wallet', get],
    ['POST', '/api/wallet/earn', change('PointsEarned', 1)],
    ['POST', '/api/wallet/spend', change('PointsSpent', -1)]
  ]
}
