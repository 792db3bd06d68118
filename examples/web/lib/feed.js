// What changes, to every window at once: server-sent events.
//
// One connection to the database serves all windows. It waits in wait_for_feed(), which holds no
// snapshot and is woken by the commit, then reads what is new and hands each event to the windows
// of its customer; stock concerns everybody. A message's id is the event's position in the feed:
// a browser that was cut off says the last one (Last-Event-ID) and gets what it has missed.
import pg from 'pg'
import { pauseBefore } from './db.js'

const HEARTBEAT = 15000       // ms; so that proxies keep the connection, and dead ones show
const BACKLOG = 1 << 18       // bytes that a window may be behind
const PAGE = 500              // more than this missed: the window is told to read everything anew

export class Feed {
  constructor (database, options = {}) {
    this.database = database
    this.options = options
    this.windows = new Set()
    this.position = null
    this.ending = false
  }

  start () {
    this.running = this.run()
    this.heartbeat = setInterval(() => this.windows.forEach(window => window.write(':\n\n')), HEARTBEAT)
    return this
  }

  async run () {
    for (let failures = 0; !this.ending; failures++) {
      this.client = new pg.Client({ application_name: 'shop feed', ...this.options })
      this.client.on('error', () => {})
      try {
        await this.client.connect()
        failures = 0
        await this.follow()
      } catch (error) {
        if (this.ending) break
        console.error(`feed: ${error.message}`)
        await new Promise(resolve => setTimeout(resolve, 50 + pauseBefore(Math.min(failures, 6))))
      } finally {
        this.client.connection?.stream?.destroy()
      }
    }
  }

  async follow () {
    await this.begin()
    while (!this.ending) {
      const { rows: [{ head }] } = await this.client.query("CALL pointstore.wait_for_feed($1, '30 s')", [this.position])
      const events = await read(this.client, this.position)
      events.forEach(event => this.windows.forEach(window => window.offer(event)))
      this.position = events.at(-1)?.looked_at ?? head
    }
  }

  // Goes on where it was, unless this is another server now: one that was promoted, or restored to
  // a point in time, may have given positions anew. Then all windows read everything again.
  async begin () {
    const { rows: [{ head, server }] } = await this.client.query('SELECT pointstore.feed_head() AS head, pointstore.feed_incarnation() AS server')
    if (server === this.server) return
    if (this.server) this.windows.forEach(window => window.reset())
    Object.assign(this, { server, position: head })
  }

  // A window opens the stream.
  connect ({ headers, customer }) {
    return {
      status: 200,
      headers: { 'content-type': 'text/event-stream', 'cache-control': 'no-store', 'x-accel-buffering': 'no' },
      stream: response => this.open(new Window(response, customer), headers['last-event-id'])
    }
  }

  async open (window, last = '') {
    window.write('retry: 1000\n\n')
    this.windows.add(window)
    window.response.on('close', () => this.windows.delete(window))
    window.ready(/^\d{1,15}$/.test(last) ? await this.missed(window, Number(last)) : [])
  }

  // What came after a position. One call does not always say it all: the last row says how far it got.
  async missed (window, after) {
    const [{ head }] = await this.database.query('SELECT pointstore.feed_head() AS head')
    const events = []
    for (let at = after; at < head && events.length < PAGE;) {
      const page = await read(this.database, at, `${window.customer}/`)
      events.push(...page)
      at = page.at(-1)?.looked_at ?? head
    }
    // a position from before a restore, or too far back to tell it all
    if (after > head || events.length >= PAGE) window.reset()
    return events
  }

  async end () {
    this.ending = true
    clearInterval(this.heartbeat)
    this.windows.forEach(window => window.response.end())
    this.client?.connection?.stream?.destroy()
    await this.running
  }
}

export class Window {
  constructor (response, customer) {
    this.response = response
    this.customer = customer
    this.last = -1
    this.waiting = []           // what comes while the missed is being read
  }

  offer (event) {
    if (this.waiting) this.waiting.push(event)
    else this.tell(event)
  }

  ready (missed) {
    const events = [...missed, ...this.waiting]
    this.waiting = null
    events.forEach(event => this.tell(event))
    this.write('event: ready\ndata: {}\n\n')
  }

  tell ({ position, aggregate_id: id, version, event_type: type }) {
    const own = id.startsWith(`${this.customer}/`)
    if (position <= this.last || !(own || id.startsWith('stock/'))) return
    this.last = position
    const resource = own ? id.slice(this.customer.length + 1) : id
    this.write(`id: ${position}\ndata: ${JSON.stringify({ resource, version, type })}\n\n`)
  }

  reset () {
    this.last = -1
    this.write('event: reset\ndata: {}\n\n')
  }

  // Whoever does not read is cut off, and asks again with Last-Event-ID: nothing piles up here.
  write (text) {
    if (this.response.writableLength > BACKLOG) this.response.destroy()
    else if (!this.response.writableEnded) this.response.write(text)
  }
}

async function read (connection, after, prefix = null) {
  const result = await connection.query(
    `SELECT "position", aggregate_id, version, event_type, read_feed_to AS looked_at
       FROM pointstore.read_feed($1, $2, aggregate_prefix => $3) ORDER BY "position"`, [after, PAGE, prefix])
  return result.rows ?? result
}
