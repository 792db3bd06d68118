// pointstore from node-postgres. PGHOST, PGDATABASE, PGUSER say where, as for psql.
import pg from 'pg'

// a bigint comes as a string, since JavaScript's numbers are exact up to 2^53 only; a BigInt holds all of it
pg.types.setTypeParser(pg.types.builtins.INT8, BigInt)

const pool = new pg.Pool({ max: 10 })
// the server may end a connection at any time: without a listener, an error of one that is idle ends the program
pool.on('error', () => {})
// nor has one that is taken out a listener of the pool's
pool.on('connect', client => client.on('error', () => {}))

// Alone: commits by itself, together with those of other callers. No BEGIN around it.
export async function submit(account, type, amount, requestId) {
  const { rows: [receipt] } = await pool.query(
    'SELECT * FROM pointstore.submit_event($1, $2, $3, request_id => $4)', [account, type, amount, requestId])
  return receipt                                               // { outcome: 'appended', version: 1n, balance: 5000n, … }
}

// In a transaction of yours: tx is what transaction() gives to work.
export async function append(tx, account, type, amount, { payload = {}, version, requestId } = {}) {
  const { rows: [receipt] } = await tx.query(
    'SELECT * FROM pointstore.append_event($1, $2, $3, $4, expected_version => $5, request_id => $6)',
    [account, type, amount, payload, version, requestId])      // an object becomes JSON, undefined becomes NULL
  return receipt
}

// The same, where a refusal is an outcome: the transaction goes on.
export async function tryAppend(tx, account, type, amount, { payload = {}, version, requestId } = {}) {
  const { rows: [receipt] } = await tx.query(
    'SELECT * FROM pointstore.try_append_event($1, $2, $3, $4, expected_version => $5, request_id => $6)',
    [account, type, amount, payload, version, requestId])
  return receipt
}

// All or nothing. A JavaScript array would become a PostgreSQL array: so make JSON of it. JSON has no BigInt: amounts may be strings.
export async function appendAll(tx, events, requestId) {
  const json = JSON.stringify(events, (key, value) => typeof value === 'bigint' ? String(value) : value)
  const { rows } = await tx.query('SELECT * FROM pointstore.append_events($1, $2, balanced => true)', [json, requestId])
  return rows
}

export async function read(account) {
  const { rows: [row] } = await pool.query('SELECT * FROM pointstore.get_balance($1)', [account])
  return row
}

// work(tx) and COMMIT, or nothing of it.
export async function transaction(work, isolation = 'READ COMMITTED') {
  const tx = await pool.connect()
  let broken
  try {
    await tx.query(`BEGIN ISOLATION LEVEL ${isolation}`)
    const result = await work(tx)
    // COMMIT of a transaction that has failed is a ROLLBACK, and no error: so see what it was
    const { command } = await tx.query('COMMIT')
    if (command !== 'COMMIT') throw new Error('a refusal was caught, but the transaction went with it: take the try_ form')
    return result
  } catch (error) {
    await tx.query('ROLLBACK').catch(e => { broken = e })
    throw error
  } finally {
    tx.release(broken)                                         // a lost one is closed, not given to the next caller
  }
}

export const query = (tx, sql, values) => tx.query(sql, values)
export const end = () => pool.end()
