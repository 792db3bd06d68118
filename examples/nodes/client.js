// A client that goes to the nodes of a distributed store itself: it hashes the account's id as the store does, asks the node
// that has it, and spares the way through a router. Where an account has moved the node says PS013: then the map is read anew.

import pg from 'pg'

const rotate = (x, n) => (x << n) | (x >>> (32 - n))

// PostgreSQL's hash_bytes(), Jenkins' lookup3: what hashtext() is in the collation "C".
export function hashtext(text) {
  const bytes = Buffer.from(text, 'utf8')
  const word = at => bytes[at] | bytes[at + 1] << 8 | bytes[at + 2] << 16 | bytes[at + 3] << 24    // past the end: 0
  let a, b, c, at = 0
  a = b = c = (0x9e3779b9 + bytes.length + 3923095) | 0
  for (; bytes.length - at >= 12; at += 12) {
    a = a + word(at) | 0; b = b + word(at + 4) | 0; c = c + word(at + 8) | 0
    a = (a - c) ^ rotate(c, 4); c = c + b | 0
    b = (b - a) ^ rotate(a, 6); a = a + c | 0
    c = (c - b) ^ rotate(b, 8); b = b + a | 0
    a = (a - c) ^ rotate(c, 16); c = c + b | 0
    b = (b - a) ^ rotate(a, 19); a = a + c | 0
    c = (c - b) ^ rotate(b, 4); b = b + a | 0
  }
  a = a + word(at) | 0; b = b + word(at + 4) | 0; c = c + (word(at + 8) << 8) | 0    // the lowest byte is the length's
  c = (c ^ b) - rotate(b, 14) | 0
  a = (a ^ c) - rotate(c, 11) | 0
  b = (b ^ a) - rotate(a, 25) | 0
  c = (c ^ b) - rotate(b, 16) | 0
  a = (a ^ c) - rotate(c, 4) | 0
  b = (b ^ a) - rotate(a, 14) | 0
  return (c ^ b) - rotate(b, 24) | 0
}

export class Store {
  #pools = new Map()
  #map                                                         // a promise of ranges, in the order of their hashes
  constructor(coordinator) { this.coordinator = coordinator }  // host, port, database, user, ...: all nodes take the same but host and port

  #pool({ host, port } = this.coordinator) {
    const key = `${host}:${port}`
    if (!this.#pools.has(key)) this.#pools.set(key, new pg.Pool({ ...this.coordinator, host, port }).on('error', () => {}))
    return this.#pools.get(key)
  }

  async #ranges() {
    this.#map ??= this.#pool().query('SELECT min_hash, max_hash, host, port FROM pointstore.shard_map ORDER BY min_hash').then(({ rows }) => rows)
    return this.#map.catch(error => { this.#map = undefined; throw error })
  }

  async #owner(account) {
    const hash = hashtext(account), ranges = await this.#ranges()
    return { map: this.#map, pool: this.#pool(ranges.find(r => r.min_hash <= hash && hash <= r.max_hash)) }
  }

  // The answer of the account's node. The sql has a call of one account, which stands alone and may be repeated: with a request_id.
  async query(account, sql, values, attempts = 5) {
    for (let attempt = 1; attempt < attempts; attempt++) {
      const { map, pool } = await this.#owner(account)
      try {
        return await pool.query(sql, values)
      } catch (error) {
        if (error.severity && error.code !== 'PS013' && !/^(08|57P)/.test(error.code)) throw error    // the store's own answer
        if (this.#map === map) this.#map = undefined           // others may have read it anew meanwhile
        if (error.code !== 'PS013') break                      // the node is away: the coordinator knows more
      }
    }
    return this.#pool().query(sql, values)                     // Citus finds the way
  }

  async append(account, type, amount, requestId) {
    const sql = 'SELECT * FROM pointstore.append_event($1, $2, $3, request_id => $4)'
    return (await this.query(account, sql, [account, type, amount, requestId])).rows[0]
  }

  end() { return Promise.all([...this.#pools.values()].map(pool => pool.end())) }
}
