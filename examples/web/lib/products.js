// GET /api/products     what is sold, at which price, and how many there are
import { createHash } from 'node:crypto'
import { unlessKnown } from './conditions.js'

export function productRoutes (database) {
  async function list (request) {
    const products = await database.query(
      `SELECT p.sku, p.price, coalesce(a.available, 0) AS stock
         FROM shop.product p LEFT JOIN pointstore.account a ON a.aggregate_id = 'stock/' || p.sku
        ORDER BY p.place`)
    // of many accounts: no version says it all, so the tag is made from the bytes
    const tag = createHash('sha256').update(JSON.stringify(products)).digest('base64url')
    return unlessKnown(request, `"${tag}"`, { products })
  }

  return [['GET', '/api/products', list]]
}
