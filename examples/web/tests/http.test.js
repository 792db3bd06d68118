// What the shop answers, by HTTP alone.
import { after, before, test } from 'node:test'
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { request } from 'node:http'
import { readFileSync, readdirSync } from 'node:fs'
import { Caller, newKey, openShop, until } from './support.js'
import { Window } from '../lib/feed.js'
import en from '../public/text/en.js'
import ko from '../public/text/ko.js'

let shop
before(async () => { shop = await openShop() })
after(() => shop.close())

const eventsOf = account => shop.one('SELECT count(*)::int FROM pointstore.event_store WHERE aggregate_id = $1', [account])

test('a first visit opens a wallet, once; its token is in no name', async () => {
  const caller = await Caller.arrive(shop)
  assert.equal(await caller.balance(), 100000)
  assert.equal(await shop.one('SELECT count(*)::int FROM pointstore.event_store WHERE strpos(aggregate_id, $1) > 0', [caller.token]), 0)
  const again = await fetch(`${shop.url}/wallet`, { headers: { cookie: `customer=${caller.token}` } })
  assert.equal(again.headers.get('set-cookie'), null)
  assert.equal((await fetch(`${shop.url}/api/wallet`)).status, 401)
  // a cookie of another shop, or of this one's database before this one
  const stranger = await fetch(`${shop.url}/`, { headers: { cookie: `customer=${'x'.repeat(32)}` } })
  assert.match(stranger.headers.get('set-cookie'), /^customer=/)
})

test('the page comes in the language that was asked for, and has nothing inline', async () => {
  const languageOf = async headers => /<html lang="(..)">/.exec(await (await fetch(`${shop.url}/`, { headers })).text())[1]
  assert.equal(await languageOf({ 'accept-language': 'ko-KR,ko;q=0.9,en;q=0.8' }), 'ko')
  assert.equal(await languageOf({ 'accept-language': 'fr, en;q=0.3, ko;q=0.7' }), 'ko')
  assert.equal(await languageOf({ 'accept-language': 'ko;q=0, *' }), 'en')
  assert.equal(await languageOf({ 'accept-language': ';;,,=' }), 'en')
  assert.equal(await languageOf({ 'accept-language': 'ko', cookie: 'language=en' }), 'en')
  const response = await fetch(`${shop.url}/`)
  assert.match(response.headers.get('content-security-policy'), /default-src 'none'; script-src 'self'; style-src 'self'/)
  assert.match(response.headers.get('vary'), /accept-language/i)
  const html = await response.text()
  assert.doesNotMatch(html, /<script>|<style|\son\w+=|\sstyle=|javascript:/i)
})

test('both dictionaries say the same things, and all that the pages ask for', () => {
  assert.deepEqual(Object.keys(ko).sort(), Object.keys(en).sort())
  const values = pattern => [...pattern.matchAll(/\{(\w+)\}/g)].map(match => match[1]).sort()
  for (const key of Object.keys(en)) assert.deepEqual(values(ko[key]), values(en[key]), key)
  const folder = new URL('../public/', import.meta.url)
  const sources = ['', 'pages/'].flatMap(part => readdirSync(new URL(part, folder)).filter(name => /\.(js|html)$/.test(name)).map(name => readFileSync(new URL(part + name, folder), 'utf8')))
  for (const [, key] of sources.join('\n').matchAll(/(?:\btext\('|data-text="|data-label=")(\w+)['"]/g)) assert.ok(key in en, key)
})

test('a GET has a strong ETag, the version; 304 for who has it', async () => {
  const caller = await Caller.arrive(shop)
  const { etag, body } = await caller.get('/api/wallet')
  assert.equal(etag, '"1"')
  assert.equal(body.version, 1)
  for (const known of ['"1"', 'W/"1"', '"0", "1"', '*']) assert.equal((await caller.get('/api/wallet', { 'if-none-match': known })).status, 304, known)
  await caller.post('/api/wallet/earn', { amount: 5 })
  const newer = await caller.get('/api/wallet', { 'if-none-match': '"1"' })
  assert.deepEqual([newer.status, newer.etag, newer.body.balance], [200, '"2"', 100005])
  const products = await caller.get('/api/products')
  assert.equal((await caller.get('/api/products', { 'if-none-match': products.etag })).status, 304)
})

test('428 without If-Match, 412 with a stale or weak one and what is there now', async () => {
  const caller = await Caller.arrive(shop)
  await caller.add('cup', 2)
  const set = ifMatch => caller.send('PUT', '/api/cart/lines/cup', { body: { quantity: 7 }, ifMatch })
  const missing = await set(undefined)
  assert.deepEqual([missing.status, missing.headers.get('content-type')], [428, 'application/problem+json'])
  for (const stale of ['"0"', '"9"', 'W/"1"', '"0", "9"', '"abc"', '"01"', '"a,b", "1,"']) {
    const answer = await set(stale)
    assert.deepEqual([answer.status, answer.etag, answer.body.current.lines.cup.quantity], [412, '"1"', 2], stale)
  }
  for (const malformed of ['1', '"1', '"1" "2"']) assert.equal((await set(malformed)).status, 400, malformed)
  assert.equal(await eventsOf(`${caller.customer}/cart`), 1)
  assert.deepEqual([(await set('"1"')).status, (await set('*')).status, (await set(', "0" ,, "3",')).status], [200, 200, 200])
  const order = await caller.post('/api/orders', { note: '' })
  assert.equal(order.status, 428)
  assert.equal((await caller.send('PATCH', '/api/profile', { body: { name: 'A' } })).status, 428)
})

test('a stale profile is 412 with theirs; the merge goes on top of it', async () => {
  const caller = await Caller.arrive(shop)
  const patch = (body, ifMatch) => caller.send('PATCH', '/api/profile', { body, ifMatch, headers: { 'content-type': 'application/merge-patch+json' } })
  assert.equal((await patch({ name: '김하나', phone: '1' }, '"0"')).etag, '"1"')
  assert.equal((await patch({ phone: '2' }, '"1"')).etag, '"2"')
  const stale = await patch({ phone: '3', address: 'x' }, '"1"')
  assert.deepEqual([stale.status, stale.body.sqlstate, stale.body.current.fields], [412, 'PS001', { name: '김하나', phone: '2' }])
  const merged = await patch({ address: 'x', phone: null }, stale.etag)
  assert.deepEqual([merged.status, merged.body.fields], [200, { name: '김하나', address: 'x' }])
})

test('the same Idempotency-Key is the same answer, and 422 with another body or elsewhere', async () => {
  const [caller, other] = [await Caller.arrive(shop), await Caller.arrive(shop)]
  const key = newKey()
  const spend = amount => caller.post('/api/wallet/spend', { amount, reason: 'tea' }, { key })
  const [first, second] = await Promise.all([spend(100), spend(100)])
  assert.deepEqual([first.status, first.body, first.etag], [201, second.body, second.etag])
  await caller.post('/api/wallet/earn', { amount: 1 })
  assert.deepEqual((await spend(100)).body, first.body)
  assert.equal(await caller.balance(), 99901)
  const differing = await spend(200)
  assert.deepEqual([differing.status, differing.body.sqlstate], [422, 'PS002'])
  assert.equal((await caller.post('/api/wallet/earn', { amount: 100 }, { key })).status, 422)
  assert.equal((await other.post('/api/wallet/earn', { amount: 100 }, { key })).status, 201)
  assert.equal((await caller.post('/api/wallet/earn', { amount: 100 }, { key: '' })).status, 400)

  const patch = async () => caller.send('PATCH', '/api/profile', { body: { name: 'A' }, ifMatch: '"0"', key: `${key}-p` })
  assert.deepEqual((await patch()).body, { version: 1, fields: { name: 'A' } })
  await caller.send('PATCH', '/api/profile', { body: { name: 'B' }, ifMatch: '"1"' })
  const replayed = await patch()
  assert.deepEqual([replayed.status, replayed.etag, replayed.body.fields], [200, '"1"', { name: 'A' }])
})

test('buying: one order for a key, whatever the cart holds by then; 422 with another note', async () => {
  const caller = await Caller.arrive(shop)
  await caller.add('green-tea', 2)
  await caller.add('cup')
  const key = newKey()
  const answers = await Promise.all([1, 2, 3].map(() => caller.post('/api/orders', { note: 'door' }, { ifMatch: '"2"', key })))
  for (const answer of answers) assert.deepEqual([answer.status, answer.body], [201, answers[0].body])
  const order = answers[0].body
  assert.deepEqual([order.state, order.total, order.version], ['placed', 25000, 1])
  assert.equal(answers[0].headers.get('location'), `/api/orders/${order.id}`)
  await caller.add('honey')
  for (const ifMatch of ['"2"', '"0", "9"', '*']) {
    assert.deepEqual((await caller.post('/api/orders', { note: 'door' }, { ifMatch, key })).body, order, ifMatch)
  }
  assert.equal((await caller.post('/api/orders', { note: 'other' }, { ifMatch: '"2"', key })).status, 422)
  assert.equal(await caller.balance(), 75000)
  assert.equal((await caller.get('/api/orders')).body.orders.length, 1)
  assert.deepEqual(Object.keys((await caller.get('/api/cart')).body.lines), ['honey'])
})

test('two windows buy one cart under keys of their own: one order, the other is 412', async () => {
  const caller = await Caller.arrive(shop)
  await caller.add('rice-cake')
  const answers = await Promise.all([1, 2].map(() => caller.post('/api/orders', { note: '' }, { ifMatch: '"1"' })))
  assert.deepEqual(answers.map(answer => answer.status).sort(), [201, 412])
  assert.equal(await caller.balance(), 95000)
})

test('409 for what the rules refuse, with the SQLSTATE and what the DETAIL says', async () => {
  const caller = await Caller.arrive(shop)
  const poor = await caller.post('/api/wallet/spend', { amount: 100001 })
  assert.deepEqual([poor.status, poor.body.type, poor.body.sqlstate, poor.body.available, poor.body.requested], [409, '/problems/insufficient_balance', 'PS003', 100000, -100001])
  assert.equal(poor.headers.get('retry-after'), null)
  const empty = await caller.buy()
  assert.deepEqual([empty.status, empty.body.type], [409, '/problems/cart_empty'])
  const sku = 'honey'
  const left = await shop.one('SELECT available::int FROM pointstore.account WHERE aggregate_id = $1', [`stock/${sku}`])
  await shop.sql('SELECT pointstore.append_event($1, $2, $3)', [`stock/${sku}`, 'StockCounted', 1 - left])
  await caller.add(sku, 2)
  const scarce = await caller.buy()
  assert.deepEqual([scarce.status, scarce.body.sqlstate, scarce.body.aggregate_id, scarce.body.available], [409, 'PS003', `stock/${sku}`, 1])
  assert.equal(await caller.balance(), 100000)
  await shop.sql('SELECT pointstore.append_event($1, $2, $3)', [`stock/${sku}`, 'StockCounted', left - 1])
})

test('an order goes from state to state: 409 where its state does not allow it, 412 where it has changed', async () => {
  const caller = await Caller.arrive(shop)
  await caller.add('cup')
  const order = (await caller.buy()).body
  const act = (action, version, options) => caller.post(`/api/orders/${order.id}/${action}`, {}, { ifMatch: `"${version}"`, ...options })
  const early = await act('ship', 1)
  assert.deepEqual([early.status, early.body.sqlstate, early.body.state], [409, 'PS012', 'placed'])
  assert.match(JSON.stringify(early.body.allowed), /OrderApproved.*OrderCancelled/)
  const crossing = await Promise.all([act('approve', 1), act('cancel', 1)])
  assert.deepEqual(crossing.map(answer => answer.status).sort(), [200, 412])
  const [won, lost] = crossing.sort((a, b) => a.status - b.status)
  assert.equal(lost.body.current.state, won.body.state)
  const cancelled = won.body.state === 'cancelled' ? won : await act('cancel', 2)
  assert.equal(cancelled.body.state, 'cancelled')
  assert.equal(await caller.balance(), 100000)
  assert.equal((await act('cancel', cancelled.body.version)).status, 409)
  assert.equal((await act('ship', 1)).status, 412)
  assert.deepEqual((await caller.get('/api/rules')).body.allowed, { placed: ['approve', 'cancel'], approved: ['ship', 'cancel'] })
  const stranger = await Caller.arrive(shop)
  assert.equal((await stranger.get(`/api/orders/${order.id}`)).status, 404)
})

test('a cancellation that is repeated gives back once', async () => {
  const caller = await Caller.arrive(shop)
  await caller.add('cup')
  const { body: { id } } = await caller.buy()
  const key = newKey()
  const cancel = () => caller.post(`/api/orders/${id}/cancel`, {}, { ifMatch: '"1"', key })
  const answers = await Promise.all([cancel(), cancel(), cancel()])
  assert.deepEqual(answers.map(answer => answer.status), [200, 200, 200])
  assert.deepEqual([(await cancel()).body.state, await caller.balance()], ['cancelled', 100000])
})

// A trigger of the owner's that has the first so many of these appends fail
async function failing (sqlstate, times, work) {
  await shop.sql(`UPDATE shop.failure SET sqlstate = '${sqlstate}', times = ${times}; ALTER SEQUENCE shop.attempt RESTART`)
  return work()
}

const FAILURE = `
  CREATE SEQUENCE shop.attempt;
  CREATE TABLE shop.failure (sqlstate text, times integer);
  INSERT INTO shop.failure VALUES ('40001', 0);
  GRANT USAGE ON shop.attempt TO shop_owner;
  GRANT SELECT ON shop.failure TO shop_owner;
  CREATE FUNCTION shop.fail() RETURNS trigger LANGUAGE plpgsql AS $$
  DECLARE
    failure shop.failure;
  BEGIN
    SELECT * INTO failure FROM shop.failure;
    IF nextval('shop.attempt') <= failure.times THEN RAISE EXCEPTION USING ERRCODE = failure.sqlstate; END IF;
    RETURN new;
  END $$;
  ALTER FUNCTION shop.fail() OWNER TO shop_owner;
  CREATE TRIGGER fail BEFORE INSERT ON pointstore.event_store FOR EACH ROW WHEN (new.event_type = 'PointsEarned') EXECUTE FUNCTION shop.fail()`

test('what may be repeated is repeated by the server; 503 with Retry-After when it stays so', async () => {
  const caller = await Caller.arrive(shop)
  const earn = () => caller.post('/api/wallet/earn', { amount: 1 })
  await shop.sql(FAILURE)
  for (const sqlstate of ['40001', '40P01', '55P03', '53300', '57P03']) {
    const saved = await failing(sqlstate, 2, earn)
    assert.equal(saved.status, 201, sqlstate)
    const given = await failing(sqlstate, 1000, earn)
    assert.deepEqual([given.status, given.headers.get('retry-after'), given.body.sqlstate], [503, '1', sqlstate])
    assert.equal(await shop.one('SELECT last_value::int FROM shop.attempt'), 5)
  }
  assert.equal(await caller.balance(), 100005)
  const bug = await failing('P0001', 1, earn)
  assert.deepEqual([bug.status, bug.body], [500, { type: '/problems/internal', title: 'internal', status: 500 }])
  await shop.sql('DROP TRIGGER fail ON pointstore.event_store')
})

// How a connection ends: by the server's word, by the network's
const ENDS = {
  'ended by the server': pid => shop.sql('SELECT pg_terminate_backend($1)', [pid]),
  cut: pid => shop.database.pool._clients.find(client => client.processID === pid).connection.stream.destroy(new Error('cut'))
}

for (const [how, end] of Object.entries(ENDS)) {
  test(`a connection is ${how} in the middle of a purchase: repeated, one order`, async () => {
    const caller = await Caller.arrive(shop)
    await caller.add('cup')
    const blocker = await shop.connect()
    await blocker.query('BEGIN')
    await blocker.query('SELECT FROM pointstore.balance WHERE aggregate_id = $1 FOR UPDATE', [`${caller.customer}/wallet`])
    const buying = caller.buy()
    const pid = await until(() => shop.sql("SELECT pid FROM pg_stat_activity WHERE application_name = 'shop' AND wait_event_type = 'Lock'").then(([row]) => row?.pid), 'a purchase that waits')
    await end(pid)
    await blocker.query('ROLLBACK')
    blocker.release()
    assert.equal((await buying).status, 201)
    assert.equal(await caller.balance(), 91000)
    assert.equal((await caller.get('/api/orders')).body.orders.length, 1)
  })
}

test('malformed, too large, of another type or from another site: refused', async () => {
  const caller = await Caller.arrive(shop)
  const raw = (body, headers) => fetch(`${shop.url}/api/wallet/earn`, { method: 'POST', body, headers: { cookie: `customer=${caller.token}`, 'content-type': 'application/json', 'idempotency-key': newKey(), ...headers } })
  assert.equal((await raw('{"amount": 1', {})).status, 400)
  assert.equal((await raw('[1]', {})).status, 400)
  assert.equal((await raw('{"amount": 1}', { 'content-type': 'text/plain' })).status, 415)
  assert.equal((await raw(`{"amount": 1, "reason": "${'x'.repeat(20000)}"}`, {})).status, 413)
  assert.equal((await raw('{"amount": 1}', { 'sec-fetch-site': 'cross-site' })).status, 403)
  for (const amount of [0, -1, 1.5, '1', null, 1e15]) assert.equal((await caller.post('/api/wallet/earn', { amount })).status, 400, String(amount))
  for (const reason of ['a\0b', '\ud800', 7, 'x'.repeat(101)]) assert.equal((await caller.post('/api/wallet/earn', { amount: 1, reason })).status, 400)
  assert.equal((await caller.send('PATCH', '/api/profile', { body: { admin: 'x' }, ifMatch: '"0"' })).body.field, 'admin')
  assert.equal((await caller.send('PATCH', '/api/profile', { body: JSON.parse('{"__proto__": "x"}'), ifMatch: '"0"' })).status, 400)
  for (const sku of ['a\0b', '\ud800', 7, 'x'.repeat(101)]) assert.equal((await caller.add(sku)).status, 400)
  assert.equal((await caller.add("cup'; DROP TABLE shop.product; --")).status, 404)
  const gone = await caller.send('DELETE', '/api/profile', { body: {} })
  assert.deepEqual([gone.status, gone.headers.get('allow')], [405, 'GET, HEAD, PATCH'])
  for (const path of ['/api/events', '/', '/style.css']) {
    const post = await fetch(shop.url + path, { method: 'POST', headers: { cookie: `customer=${caller.token}` } })
    assert.deepEqual([post.status, post.headers.get('allow')], [405, 'GET, HEAD'], path)
  }
  assert.deepEqual([(await caller.get('/api/nothing')).status, (await caller.get('/api/orders/000000000000')).status], [404, 404])
  assert.equal((await fetch(`${shop.url}/lib/../../server.js`)).status, 404)
  assert.equal((await fetch(`${shop.url}/%2e%2e/server.js`)).status, 404)
  for (const [path, status] of [['//', 404], ['/../../server.js', 404], ['*', 400], [`${shop.url}/api/rules`, 401]]) assert.equal(await statusOf(path), status, path)
  assert.equal(await caller.balance(), 100000)
})

// As it stands in the request's first line: fetch() would tidy it up.
function statusOf (path) {
  return new Promise((resolve, reject) => {
    request(shop.url, { path }, response => { response.resume(); resolve(response.statusCode) }).on('error', reject).end()
  })
}

test('HEAD says what GET would, without the body; of the stream too', async () => {
  const caller = await Caller.arrive(shop)
  for (const path of ['/api/wallet', '/api/events', '/style.css']) {
    const head = await fetch(shop.url + path, { method: 'HEAD', headers: { cookie: `customer=${caller.token}` }, signal: AbortSignal.timeout(20000) })
    assert.deepEqual([head.status, await head.text()], [200, ''], path)
  }
})

// A window's stream of events: read as they come
async function listen (caller, last) {
  const controller = new AbortController()
  const headers = { cookie: `customer=${caller.token}`, ...(last === undefined ? {} : { 'last-event-id': String(last) }) }
  const response = await fetch(`${shop.url}/api/events`, { headers, signal: controller.signal })
  const stream = { messages: [], text: '', stop: () => controller.abort() }
  receive(stream, response).catch(() => {})
  await until(() => stream.ready, 'the stream')
  return stream
}

async function receive (stream, response) {
  const decoder = new TextDecoder()
  for await (const chunk of response.body) {
    const parts = (stream.text + decoder.decode(chunk, { stream: true })).split('\n\n')
    stream.text = parts.pop()
    for (const part of parts) {
      const fields = Object.fromEntries(part.split('\n').map(line => line.split(/: (.*)/s).slice(0, 2)))
      if (fields.event) stream[fields.event] = true
      else if (fields.id) stream.messages.push({ id: Number(fields.id), ...JSON.parse(fields.data) })
    }
  }
}

test('events come to every window of a customer, and to no other’s; what was missed comes again', async () => {
  const [caller, other] = [await Caller.arrive(shop), await Caller.arrive(shop)]
  const [a, b, stranger] = await Promise.all([listen(caller, 0), listen(caller, 0), listen(other, 0)])
  await caller.add('cup')
  await caller.buy()
  const own = stream => stream.messages.filter(({ resource }) => !resource.startsWith('stock/')).map(({ resource, version, type }) => `${resource.split('/')[0]} ${version} ${type}`)
  const all = ['wallet 1 Welcome', 'cart 1 ItemAdded', 'cart 2 CheckedOut', 'wallet 2 OrderPaid', 'order 1 OrderPlaced']
  await until(() => own(a).length >= 5 && own(b).length >= 5, 'events')
  assert.deepEqual([own(a), own(b)], [all, all])
  await until(() => stranger.messages.some(({ type }) => type === 'Sold'), 'stock')
  assert.deepEqual(own(stranger), ['wallet 1 Welcome'])
  b.stop()
  await caller.post('/api/wallet/earn', { amount: 1 })
  const again = await listen(caller, b.messages.find(({ type }) => type === 'CheckedOut').id)
  await until(() => own(again).length >= 3, 'what was missed')
  assert.deepEqual(own(again), ['wallet 2 OrderPaid', 'order 1 OrderPlaced', 'wallet 3 PointsEarned'])
  const future = await listen(caller, 1e12)
  assert.ok(future.reset)
  const garbage = await Promise.all(['', 'x', '-1', '1e3', '9'.repeat(40)].map(last => listen(caller, last)))
  assert.deepEqual(garbage.map(stream => [stream.reset, stream.messages]), garbage.map(() => [undefined, []]))
  for (const stream of [a, again, future, stranger, ...garbage]) stream.stop()
})

test('what was missed is told to the end, though one call of read_feed gives 4 MB', async () => {
  const caller = await Caller.arrive(shop)
  const before = await listen(caller)
  await shop.sql("SELECT pointstore.append_event($1, 'Noted', payload => jsonb_build_object('n', n, 'text', (SELECT string_agg(md5(n || '/' || m), '') FROM generate_series(1, 40000) m))) FROM generate_series(1, 6) n", [`${caller.customer}/notes`])
  const all = stream => until(() => stream.messages.filter(({ resource }) => resource === 'notes').length === 6, 'all notes')
  await all(before)
  const stream = await listen(caller, 0)
  await all(stream)
  for (const each of [before, stream]) each.stop()
})

test('a window that does not read is cut off; one that has gone is written nothing', () => {
  const told = state => {
    const response = { ...state, calls: [], write () { this.calls.push('write') }, destroy () { this.calls.push('destroy') } }
    new Window(response, 'c').write('x')
    return response.calls
  }
  assert.deepEqual([told({ writableLength: 0 }), told({ writableLength: 1e6 }), told({ writableLength: 0, writableEnded: true })], [['write'], ['destroy'], []])
})

test('the feed’s connection is lost: the windows miss nothing', async () => {
  const caller = await Caller.arrive(shop)
  const stream = await listen(caller)
  await shop.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name IN ('shop', 'shop feed')")
  await caller.post('/api/wallet/earn', { amount: 1 })
  await until(() => stream.messages.some(({ type }) => type === 'PointsEarned'), 'the event')
  stream.stop()
})

test('a port that is taken: one line says so, and it ends', async () => {
  const { port } = new URL(shop.url)
  const child = spawn(process.execPath, ['server.js'], { env: { ...process.env, PGUSER: 'shop', PORT: port }, stdio: ['ignore', 'inherit', 'pipe'] })
  let text = ''
  child.stderr.setEncoding('utf8').on('data', part => { text += part })
  assert.deepEqual(await once(child, 'close'), [1, null])
  assert.match(text, /^listen EADDRINUSE.*\n$/)
})

test('it ends by itself, with windows open, though ^C is followed by another signal', async () => {
  const child = spawn(process.execPath, ['server.js'], { env: { ...process.env, PGUSER: 'shop', PORT: '0' }, stdio: ['ignore', 'pipe', 'inherit'] })
  const [line] = await once(child.stdout.setEncoding('utf8'), 'data')
  const caller = await Caller.arrive({ url: line.trim().replace(/\/$/, '') })
  const stream = await fetch(`${caller.shop.url}/api/events`, { headers: { cookie: `customer=${caller.token}` } })
  child.kill('SIGINT')
  child.kill('SIGTERM')
  assert.deepEqual(await once(child, 'exit'), [0, null])
  await stream.text().catch(() => {})
})
