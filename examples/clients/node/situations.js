// node situations.js NAME: what a shop does with the client in NAME.js, and what it is answered, in TAP.
// PGHOST leads over a proxy that cuts connections where a request_id says so (see ../proxy.py), DIRECT_HOST to the server.
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import pg from 'pg'
import { cause, mayRepeat, retry } from './retry.js'

const shop = await import(`./${process.argv[2]}.js`)
const name = process.argv[2] + (process.env.BEHIND ?? '')
const admin = new pg.Client({ host: process.env.DIRECT_HOST, user: process.env.ADMIN })
await admin.connect()

const state = error => cause(error).code
const account = what => `${name}-${what}`
const refused = (sqlstate, work) => assert.rejects(work, error => state(error) === sqlstate || assert.fail(`${state(error)}: ${error.message}`))
// an idle connection may have been ended by the server: what only reads may always be repeated
const balance = async what => Number((await retry(() => shop.read(account(what)), { requestId: 'none is needed' })).balance)
const count = async (sql, values) => Number((await admin.query(`SELECT count(*) AS n FROM ${sql}`, values)).rows[0].n)

async function ok(what, test) {
  try {
    await test()
    console.log(`ok - ${name}: ${what}`)
  } catch (error) {
    console.log(`not ok - ${name}: ${what}\n${error.stack}`.replace(/\n/g, '\n# '))
    process.exitCode = 1
  }
}

// Something of the shop's own and its event. Append first: a replayed one has its order already.
function pay(what, order, amount, { version } = {}) {
  return shop.transaction(async tx => {
    const receipt = await shop.append(tx, account(what), 'PointSpent', -amount, { payload: { order }, version, requestId: `pay-${order}` })
    if (receipt.outcome !== 'replayed') await save(tx, what, order, amount, 'paid')
    return receipt
  })
}

const save = (tx, what, order, amount, state) =>
  shop.query(tx, 'INSERT INTO shop.orders (order_id, account, amount, state) VALUES ($1, $2, $3, $4)', [order, account(what), amount, state])

// All of these at once: somebody holds the account until each of them has read it and waits for it.
async function atOnce(what, works) {
  await admin.query('BEGIN')
  await admin.query('SELECT FROM pointstore.balance WHERE aggregate_id = $1 FOR UPDATE', [account(what)])
  const all = Promise.allSettled(works.map(work => work()))
  while (await count('pg_locks WHERE NOT granted') < works.length) await new Promise(go => setTimeout(go, 5))
  await admin.query('COMMIT')
  return all
}

await ok('earn', async () => {
  const receipt = await shop.submit(account('a'), 'PointEarned', 5000, account('earn'))
  assert.deepEqual([receipt.outcome, String(receipt.version), String(receipt.balance)], ['appended', '1', '5000'])
})

await ok('a bigint above 2^53 is exact', async () => {
  await shop.submit(account('big'), 'PointEarned', '9007199254740993', account('big'))
  assert.equal(String((await shop.read(account('big'))).balance), '9007199254740993')
})

await ok('spend, with an order', async () => {
  const order = account('A-1')
  assert.equal(String((await pay('a', order, 4000)).balance), '1000')
  assert.equal(await count('shop.orders WHERE order_id = $1', [order]), 1)
  assert.equal(await count(`pointstore.event_store WHERE payload = jsonb_build_object('order', CAST($1 AS text))`, [order]), 1)
})

await ok('a refusal is an error, and takes the order with it', async () => {
  await refused('PS003', () => shop.transaction(async tx => {
    await save(tx, 'a', account('A-2'), 4000, 'paid')
    await shop.append(tx, account('a'), 'PointSpent', -4000)
  }))
  assert.equal(await count('shop.orders WHERE order_id = $1', [account('A-2')]), 0)
  assert.equal(await balance('a'), 1000)
})

await ok('try_: a refusal is an outcome, and the transaction goes on', async () => {
  const receipt = await shop.transaction(async tx => {
    const receipt = await shop.tryAppend(tx, account('a'), 'PointSpent', -4000)
    await save(tx, 'a', account('A-3'), 4000, receipt.outcome)
    return receipt
  })
  assert.deepEqual([receipt.outcome, String(receipt.available), String(receipt.version)], ['insufficient_balance', '1000', '2'])
  assert.equal(await count(`shop.orders WHERE order_id = $1 AND state = 'insufficient_balance'`, [account('A-3')]), 1)
  const stale = await shop.transaction(tx => shop.tryAppend(tx, account('a'), 'PointSpent', -1, { version: 1 }))
  assert.equal(stale.outcome, 'version_conflict')
})

await ok('the same request is applied once, and answered alike', async () => {
  const [first, second] = await Promise.all([1, 2].map(() => shop.submit(account('a'), 'PointEarned', 7, account('bonus'))))
  const third = await shop.submit(account('a'), 'PointEarned', 7, account('bonus'))
  assert.deepEqual([first.outcome, second.outcome].sort(), ['appended', 'replayed'])
  assert.equal(third.outcome, 'replayed')
  assert.equal(String(third.id), String(first.id))
  assert.equal((await pay('a', account('A-1'), 4000)).outcome, 'replayed')
  await refused('PS002', () => shop.submit(account('a'), 'PointEarned', 8, account('bonus')))
  assert.equal(await balance('a'), 1007)
})

await ok('two at once from one version: one wins, the other is told', async () => {
  const { version } = await shop.read(account('a'))
  const ends = await atOnce('a', [1, 2].map(n => () => pay('a', account(`B-${n}`), 600, { version })))
  assert.deepEqual(ends.map(e => e.status).sort(), ['fulfilled', 'rejected'])
  assert.equal(state(ends.find(e => e.reason).reason), 'PS001')
  assert.equal(await balance('a'), 407)
})

await ok('told to, it reads again and decides anew: none oversells', async () => {
  await shop.submit(account('c'), 'PointEarned', 50)
  const spend = n => retry(async () => {
    const { version, balance } = await shop.read(account('c'))
    return Number(balance) < 10 ? 'too little' : (await pay('c', account(`C-${n}`), 10, { version })).outcome
  }, { requestId: account(`C-${n}`), rereads: true, attempts: 50, pause: 5 })
  const ends = await Promise.all([1, 2, 3, 4, 5, 6, 7, 8].map(spend))
  assert.deepEqual(ends.sort(), [...Array(5).fill('appended'), ...Array(3).fill('too little')])
  assert.equal(await balance('c'), 0)
})

if (shop.appendAll) await ok('several events, all or nothing', async () => {
  const events = amount => [{ aggregate_id: account('a'), event_type: 'Sent', amount: -amount }, { aggregate_id: account('b'), event_type: 'Received', amount }]
  assert.equal((await shop.transaction(tx => shop.appendAll(tx, events(7n), account('gift')))).length, 2)
  await refused('PS003', () => shop.transaction(tx => shop.appendAll(tx, events(5000n))))
  assert.deepEqual([await balance('a'), await balance('b')], [400, 7])
})

await ok('a refusal that is caught inside is no commit', async () => {
  const before = await balance('a')
  await shop.transaction(async tx => {
    await shop.append(tx, account('a'), 'PointEarned', 1)
    await shop.append(tx, account('a'), 'PointSpent', -90000).catch(() => {})
  }).then(() => assert.notEqual(process.argv[2], 'node-postgres'), () => {})     // the mappers say nothing
  assert.equal(await balance('a'), before)
})

if (shop.payByMapper) await byMapper()
await faults()
await shop.end()
await admin.end()

// ---- the mapper writes both tables

async function byMapper() {
  for (const insertFirst of [false, true]) {
    const order = insertFirst ? 'the INSERT first' : 'the UPDATE first'
    const what = insertFirst ? 'i' : 'u'
    const request = n => account(`${what}-${n}`)
    const pay = (amount, n) => shop.payByMapper(account(what), amount, request(n), { insertFirst })

    await ok(`${order}: the balance and its event`, async () => {
      await shop.submit(account(what), 'PointEarned', 5000)
      assert.equal(await pay(4000, 1), 'appended')
      assert.equal(await balance(what), 1000)
      assert.equal(await count('pointstore.event_store WHERE request_id = $1 AND amount = -4000 AND version = 2', [request(1)]), 1)
      assert.equal(await pay(4000, 1), 'replayed')
      await refused('PS003', () => pay(4000, 2))
    })

    await ok(`${order}: two at once, one wins, the other is told, and pays when it has read again`, async () => {
      const told = []
      const ends = await atOnce(what, [3, 4].map(n => () => retry(() => pay(300, n), { requestId: request(n), rereads: true, onRepeat: e => told.push(e) })))
      assert.deepEqual(ends.map(e => e.value), ['appended', 'appended'])
      assert.equal(told.length, 1)
      console.log(`# ${name}, ${order}: the other is told ${told.map(e => state(e) ?? (e.stale ? 'no row' : e.name))}`)
      assert.equal(await balance(what), 400)
    })

    await ok(`${order}: one request twice at once is applied once`, async () => {
      const ends = await atOnce(what, [1, 2].map(() => () => retry(() => pay(100, 5), { requestId: request(5), rereads: true })))
      assert.deepEqual(ends.map(e => e.value).sort(), ['appended', 'replayed'])
      assert.equal(await balance(what), 300)
    })
  }

  if (shop.payBySave) await ok('save() over what another wrote meanwhile is refused', async () => {
    const ends = await atOnce('i', [1, 2].map(n => () => shop.payBySave(account('i'), 100, account(`save-${n}`))))
    assert.deepEqual(ends.map(e => e.status).sort(), ['fulfilled', 'rejected'])
    assert.match(state(ends.find(e => e.reason).reason), /^PS0(01|10)$/)
    assert.equal(await balance('i'), 200)
  })
}

// ---- what may go wrong with a server, and retry()

async function faults() {
  const seen = {}
  const onRepeat = error => { const what = cause(error).severity ? state(error) : 'lost'; seen[what] = (seen[what] ?? 0) + 1 }
  const times = [1, 2]
  const injected = ['lost-call', 'lost-answer', 'ended']
  const requests = injected.flatMap(fault => times.map(n => `${fault}-${name}-${n}`))
  const again = { attempts: 8, onRepeat }

  await ok('connections lost before and after the commit, and ended by the server: each request once', async () => {
    const ends = await Promise.all(requests.flatMap(request => [
      retry(() => shop.submit(account('f'), 'PointEarned', 1, request), { requestId: request, ...again }),
      retry(() => shop.transaction(async tx => {
        const receipt = await shop.append(tx, account('f'), 'PointEarned', 100, { requestId: `${request}-order` })
        if (receipt.outcome !== 'replayed') await save(tx, 'f', request.replaceAll('-', '_'), 100, 'paid')   // the proxy is not to find it
        return receipt
      }), { requestId: request, ...again })]))
    const replayed = ends.filter(e => e.outcome === 'replayed').length
    assert.ok(replayed >= 2 * times.length, `an answer was lost, so it is replayed: ${replayed}`)
    assert.equal(await balance('f'), requests.length * 101)
    assert.equal(await count('shop.orders WHERE account = $1', [account('f')]), requests.length)
    assert.equal(await count('pointstore.event_store WHERE aggregate_id = $1', [account('f')]), requests.length * 2)
    console.log(`# ${name} was told ${JSON.stringify(seen)}`)
    const { lost = 0, '57P01': ended = 0, '08P01': told = 0 } = seen        // 08P01: PgBouncer's word for it
    assert.ok(lost + ended + told >= 5 * times.length && (ended >= times.length || told), JSON.stringify(seen))
  })

  await ok('deadlocks: one of two is repeated', async () => {
    const ends = await inStep((n, meet) => shop.transaction(async tx => {
      const [one, other] = n ? ['d', 'e'] : ['e', 'd']
      await shop.append(tx, account(one), 'PointEarned', 1, { requestId: account(`dead-${n}-${one}`) })
      await meet()
      await shop.append(tx, account(other), 'PointEarned', 1, { requestId: account(`dead-${n}-${other}`) })
    }), again)
    assert.deepEqual(ends.map(e => e.status), ['fulfilled', 'fulfilled'])
    assert.equal(seen['40P01'], 1)
    assert.deepEqual([await balance('d'), await balance('e')], [2, 2])
  })

  await ok('serialization failures: one of two is repeated', async () => {
    const ends = await inStep((n, meet) => shop.transaction(async tx => {
      await shop.query(tx, 'SELECT count(*) FROM shop.orders')
      await meet()
      return shop.append(tx, account('d'), 'PointEarned', 10, { requestId: account(`serial-${n}`) })
    }, 'SERIALIZABLE'), again)
    assert.deepEqual(ends.map(e => e.status), ['fulfilled', 'fulfilled'])
    assert.ok(seen['40001'] >= 1, JSON.stringify(seen))
    assert.equal(await balance('d'), 22)
  })

  await ok('without a request_id a lost answer is not repeated', async () => {
    let attempts = 0
    await assert.rejects(retry(() => { attempts++; return shop.submit(account('g'), `lost-answer-${name}-g`, 1) }), error => !mayRepeat(error) && mayRepeat(error, { requestId: 'one' }))
    assert.equal(attempts, 1)
    assert.equal(await balance('g'), 1)
  })

  await ok('each SQLSTATE is repeated as the table of answers says', async () => {
    const always = ['40001', '40P01', '55P03', 'PS013', '57P03', '08001', '53300', '23505 pointstore']
    const withRequest = ['08003', '08006', '53100', '53200', '57014', '57P01', '57P02', '57P05']
    const rereading = ['PS001', 'PS010']
    const never = ['PS002', 'PS003', 'PS004', 'PS005', 'PS006', 'PS007', 'PS008', 'PS009', 'PS011', 'PS012', 'PS014',
      '22003', '22004', '22023', '0A000', '23505 shop', '23514', '25001', '25006', '42501', '55000', 'XX001', 'P0001']
    for (const [states, expected] of [[always, [true, true, true]], [withRequest, [false, true, false]], [rereading, [false, false, true]], [never, [false, false, false]]]) {
      for (const state of states) {
        const error = await shop.transaction(tx => shop.query(tx, 'SELECT shop.fail($1)', [state])).catch(e => e)
        assert.deepEqual([state, mayRepeat(error), mayRepeat(error, { requestId: 'one' }), mayRepeat(error, { rereads: true })], [state, ...expected])
      }
    }
    const lookup = (host, options, found) => found(null, [{ address: '127.0.0.1', family: 4 }, { address: '::1', family: 6 }])
    const [nobody] = await once(connect({ host: 'nobody', port: 1, autoSelectFamily: true, lookup }), 'connect').catch(error => [error])
    assert.deepEqual([nobody.code, mayRepeat(nobody), mayRepeat(nobody, { requestId: 'one' })], ['ECONNREFUSED', false, true])
  })

  await ok('nor is a refusal, nor a bug', async () => {
    let attempts = 0
    await refused('PS003', () => retry(() => { attempts++; return shop.submit(account('g'), 'PointSpent', -5, account('g')) }, { requestId: account('g'), rereads: true }))
    await assert.rejects(retry(() => { attempts++; return undefined.missing }, { requestId: 'x', rereads: true }), TypeError)
    await refused('23505', () => retry(() => { attempts++; return shop.transaction(tx => save(tx, 'a', account('A-1'), 1, 'paid')) }, { requestId: 'x', rereads: true }))
    assert.equal(attempts, 3)
  })
}

// Two at once, which meet once in the middle of their first attempts.
function inStep(work, options) {
  let come
  let first
  const both = new Promise(go => { come = go })
  return Promise.allSettled([0, 1].map(n => {
    let attempt = 0
    return retry(() => work(n, async () => {
      if (attempt++ > 0) return
      if (first) come()
      first = true
      await both
    }), { requestId: account(`step-${n}`), ...options })
  }))
}
