// GET /api/cart                    { version, lines: { sku: { quantity, price } } }
// POST /api/cart/items             { sku, quantity }: puts so many more in
// PUT /api/cart/lines/:sku         { quantity }: so many and no others, 0 takes the line out
//
// Adding commutes: two windows that each put one in want two, so it needs no If-Match. Setting a
// quantity rests on what was seen: it does.
import { conditionally, etag, requestId, unlessKnown } from './conditions.js'
import { Problem } from './problem.js'
import { text, wholeNumber } from './input.js'

const MOST = 99

export function cartRoutes (database) {
  async function cart (customer, version) {
    const { version: at, state } = await database.state(`${customer}/cart`, version)
    return { version: at, lines: state }
  }

  async function priceOf (sku) {
    const [product] = await database.query('SELECT price FROM shop.product WHERE sku = $1', [sku])
    if (!product) throw new Problem(404, 'no_such_product')
    return product.price
  }

  // The answer is the cart as the event left it, in a repeat too.
  async function append (request, type, payload, expected) {
    const [receipt] = await database.append(requestId(request), [
      { aggregate_id: `${request.customer}/cart`, event_type: type, payload, expected_version: expected, kind: 'cart' }])
    const after = await cart(request.customer, receipt.version)
    return { status: 200, headers: { etag: etag(after.version) }, body: after }
  }

  async function get (request) {
    const current = await cart(request.customer)
    return unlessKnown(request, etag(current.version), current)
  }

  async function add (request) {
    const sku = text(request.body, 'sku', 64)
    const quantity = wholeNumber(request.body, 'quantity', 1, MOST)
    return append(request, 'ItemAdded', { sku, quantity, price: await priceOf(sku) }, null)
  }

  async function set (request) {
    const { sku } = request.params
    const quantity = wholeNumber(request.body, 'quantity', 0, MOST)
    const price = await priceOf(sku)
    return conditionally(request, `${request.customer}/cart`, () => cart(request.customer), expected =>
      append(request, 'QuantitySet', { sku, quantity, price }, expected))
  }

  return [
    ['GET', '/api/cart', get],
    ['POST', '/api/cart/items', add],
    ['PUT', '/api/cart/lines/:sku', set]
  ]
}
