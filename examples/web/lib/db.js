// The database: a pool, a query that is repeated where the answer says that it may be, and the
// one way in which this shop writes: append_events() with a request_id.
import pg from 'pg'

// Versions, points and quantities of a shop stay below 2^53. Where yours do not: BigInt.
pg.types.setTypeParser(pg.types.builtins.INT8, Number)

// Worth another try: the transaction, or the connection, ended before it had done anything that
// lasts. When the connection is lost nobody knows; then the request_id does: it is applied once.
const REPEATABLE = /^(40001|40P01|55P03|53...|57P..|08...|ECONNREFUSED|ECONNRESET|EPIPE|ENOENT)$/
const ATTEMPTS = 5

export function isRepeatable (error) {
  return REPEATABLE.test(error.code ?? '') || /terminated|timeout exceeded/.test(error.message ?? '')
}

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
    this.pool.on('error', () => {})       // an idle connection was lost: the next query gets another
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
    const client = await this.pool.connect()
    let lost = false
    try {
      return (await client.query(text, values)).rows
    } catch (error) {
      lost = error.severity !== 'ERROR'
      throw error
    } finally {
      client.release(lost)
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
