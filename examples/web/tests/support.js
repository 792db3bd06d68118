// For the tests: the shop in this process, on the database that PGHOST and PGDATABASE name, a
// caller with a cookie, and SQL as the superuser to look behind.
import pg from 'pg'
import { createShop } from '../server.js'
import { nameOf } from '../lib/customer.js'

export async function openShop () {
  const shop = createShop({ user: 'shop' })
  const port = await shop.listen(0)
  const admin = new pg.Pool({ max: 4 })
  admin.on('error', () => {})
  return {
    database: shop.database,
    url: `http://localhost:${port}`,
    sql: async (text, values) => (await admin.query(text, values)).rows,
    one: async (text, values) => Object.values((await admin.query(text, values)).rows[0])[0],
    connect: () => admin.connect(),
    close: async () => { await shop.close(); await admin.end() }
  }
}

let keys = 0
export const newKey = () => `test-${process.pid}-${++keys}`

// What a browser does, without one
export class Caller {
  static async arrive (shop) {
    const caller = new Caller()
    caller.shop = shop
    const response = await fetch(`${shop.url}/`)
    await response.text()
    caller.token = /customer=([^;]+)/.exec(response.headers.get('set-cookie'))[1]
    caller.customer = nameOf(caller.token)
    return caller
  }

  async send (method, path, { body, ifMatch, key = newKey(), headers = {}, ...options } = {}) {
    const all = { cookie: `customer=${this.token}`, ...headers }
    if (method !== 'GET') Object.assign(all, { 'content-type': 'application/json', 'idempotency-key': key }, headers)
    if (ifMatch !== undefined) all['if-match'] = ifMatch
    const response = await fetch(this.shop.url + path, { method, headers: all, body: body === undefined ? undefined : JSON.stringify(body), ...options })
    const text = await response.text()
    return { status: response.status, etag: response.headers.get('etag'), headers: response.headers, body: text === '' ? null : JSON.parse(text) }
  }

  get (path, headers) { return this.send('GET', path, { headers }) }
  post (path, body, options) { return this.send('POST', path, { body, ...options }) }

  add (sku, quantity = 1) { return this.post('/api/cart/items', { sku, quantity }) }

  async buy (options) {
    const { etag } = await this.get('/api/cart')
    return this.post('/api/orders', { note: '' }, { ifMatch: etag, ...options })
  }

  async balance () { return (await this.get('/api/wallet')).body.balance }
}

export async function until (condition, what = condition, seconds = 20) {
  const end = Date.now() + 1000 * seconds
  for (;;) {
    const value = await condition()
    if (value) return value
    if (Date.now() > end) throw new Error(`waited in vain: ${what}`)
    await new Promise(resolve => setTimeout(resolve, 20))
  }
}
