// The shop. PGHOST, PGDATABASE … say where the store is (role: shop); PORT where to listen, 8080.
import { createServer } from 'node:http'
import { fileURLToPath } from 'node:url'
import { Database } from './lib/db.js'
import { Feed } from './lib/feed.js'
import { notAllowed, pathOf, readJson, refuseCrossSite, router, send, sendError } from './lib/http.js'
import { customerOf, welcome } from './lib/customer.js'
import { file, isPage, missing, page, sendFile } from './lib/pages.js'
import { cartRoutes } from './lib/cart.js'
import { orderRoutes } from './lib/orders.js'
import { productRoutes } from './lib/products.js'
import { profileRoutes } from './lib/profile.js'
import { walletRoutes } from './lib/wallet.js'

const SAFE = ['GET', 'HEAD']

export function createShop (options = {}) {
  const database = new Database(options)
  const feed = new Feed(database, options).start()
  const find = router([
    ['GET', '/api/events', request => feed.connect(request)],
    ...[productRoutes, cartRoutes, orderRoutes, walletRoutes, profileRoutes].flatMap(routes => routes(database))
  ])
  let closing

  async function answer (request, response) {
    const pathname = pathOf(request)
    const method = request.method === 'HEAD' ? 'GET' : request.method
    if (!pathname.startsWith('/api/')) return answerFile(request, response, pathname)
    if (!SAFE.includes(request.method)) refuseCrossSite(request)
    const customer = customerOf(request)
    const { handler, params } = find(method, pathname)
    const body = method === 'GET' ? undefined : await readJson(request)
    return send(response, await handler({ headers: request.headers, customer, params, body }))
  }

  async function answerFile (request, response, path) {
    const found = isPage(path) ? page(request) : file(request, path)
    if (found && !SAFE.includes(request.method)) throw notAllowed(['GET'])
    const reply = found ?? missing(request)
    const cookie = isPage(path) ? await welcome(database, request) : null
    if (cookie) reply.headers['set-cookie'] = cookie
    sendFile(response, reply)
  }

  async function end () {
    await feed.end()
    server.close()
    server.closeAllConnections()
    await database.end()
  }

  const server = createServer({ requestTimeout: 10000, headersTimeout: 5000, maxHeaderSize: 8192 }, (request, response) =>
    answer(request, response).catch(error => sendError(response, error)))

  return {
    server,
    database,
    listen: (port, host = '127.0.0.1') => new Promise((resolve, reject) =>
      server.once('error', reject).listen(port, host, () => resolve(server.address().port))),
    // once, though ^C at a terminal may be followed by another signal
    close: () => (closing ??= end())
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const shop = createShop({ user: process.env.PGUSER ?? 'shop' })
  const port = await shop.listen(Number(process.env.PORT ?? 8080), process.env.HOST).catch(error => {
    console.error(`${error.message} (PORT=… listens elsewhere)`)
    process.exit(1)
  })
  console.log(`http://localhost:${port}/`)
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, shop.close)
}
