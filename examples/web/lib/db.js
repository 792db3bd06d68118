// The database: a pool, a query that is repeated where the answer says that it may be, and the
// one way in which this shop writes: append_events() with a request_id.
import pg from 'pg'

// Versions, points and quantities of a shop stay below 2^53. Where yours do not: BigInt.
pg.types.setTypeParser(pg.types.builtins.INT8, Number)

// Worth another try: the transaction, or the connection, ended before it had done anything that
// lasts. When the connection is lost nobody knows; then the request_id does: it is applied once.
const REPEATABLE = /^(40001|40P01|55P03|53...|57P..|08...)$/
const ATTEMPTS = 5

export function isRepeatable (error) {
  return error.unanswered || REPEATABLE.test(sqlstateOf(error))
}

// The server's answers have a severity; those of the network may have a code that looks alike: EPIPE.
export const sqlstateOf = error => error.severity === undefined ? undefined : error.code

// Full jitter: anything up to 20, 40, 80, 160 ms, so that those who met once do not meet again.
export function pauseBefore (attempt) {
  return Math.random() * 20 * 2 ** attempt
}

export class Database {
  constructor (options = {}) {
    this.pool = new pg.Pool({
      max: 16,
      connectionTimeoutMillis: 3000,
      application_name: 'shop',
      options: '-c lock_timeout=2s -c statement_timeout=5s',
      ...options
    })
    // Without these two listeners a connection that is lost, idle or in use, ends the program.
    this.pool.on('error', () => {})
    this.pool.on('connect', client => client.on('error', () => {}))
  }

  async query (text, values = []) {
    for (let attempt = 0; ; attempt++) {
      try {
        return await this.once(text, values)
      } catch (error) {
        if (attempt + 1 === ATTEMPTS || !isRepeatable(error)) throw error
        await new Promise(resolve => setTimeout(resolve, pauseBefore(attempt)))
      }
    }
  }

  // pool.query() would close the connection after any error; a statement that was refused
  // leaves it as good as before.
  async once (text, values) {
    let client, lost
    try {
      client = await this.pool.connect()
      return (await client.query(text, values)).rows
    } catch (error) {
      error.unanswered = error.severity === undefined && !(error instanceof TypeError)
      lost = error.unanswered || /^(57P|08)/.test(error.code)
      throw error
    } finally {
      client?.release(lost)
    }
  }

  // All of these events or none; a repeat of the same request gets the first receipts.
  append (requestId, events) {
    return this.query('SELECT * FROM pointstore.append_events($1, $2)', [JSON.stringify(events), requestId])
  }

  // An account's state after a version, null = its last
  async state (account, version = null) {
    const [row] = await this.query('SELECT version, state FROM pointstore.aggregate_state($1, $2)', [account, version])
    return row
  }

  end () {
    return this.pool.end()
  }
}
