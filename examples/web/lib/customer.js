// Who asks: a cookie with a random token, and the customer's name made from it. A real shop has
// a login here. The token is in no name, so an account's name in a log opens nothing.
import { createHash, randomBytes } from 'node:crypto'
import { cookies } from './http.js'
import { Problem } from './problem.js'

const TOKEN = /^[A-Za-z0-9_-]{32}$/
const WELCOME = 100000

export const nameOf = token => createHash('sha256').update(token).digest('hex').slice(0, 16)

export function customerOf (request) {
  const { customer: token } = cookies(request)
  if (!TOKEN.test(token ?? '')) throw new Problem(401, 'no_customer', { detail: 'open the shop first: GET / sets the cookie' })
  return nameOf(token)
}

// A first visit, or a cookie that this shop has not given: a new customer with a wallet and some
// points in it. Returns the cookie.
export async function welcome (database, request) {
  const { customer: known } = cookies(request)
  if (TOKEN.test(known ?? '') && await hasWallet(database, nameOf(known))) return null
  const token = randomBytes(24).toString('base64url')
  const customer = nameOf(token)
  await database.append(`${customer}/welcome`, [
    { aggregate_id: `${customer}/wallet`, event_type: 'Welcome', amount: WELCOME, kind: 'wallet' }])
  return `customer=${token}; Path=/; HttpOnly; SameSite=Lax; Max-Age=31536000`
}

async function hasWallet (database, customer) {
  const rows = await database.query('SELECT FROM pointstore.get_balance($1)', [`${customer}/wallet`])
  return rows.length > 0
}
