// What changes, to every window at once: server-sent events.
//
// One connection to the database serves all windows. It waits in wait_for_feed(), which holds no
// snapshot and is woken by the commit, then reads what is new and hands each event to the windows
// of its customer; stock concerns everybody. A message's id is the event's position in the feed:
// a browser that was cut off says the last one (Last-Event-ID) and gets what it has missed.
import pg from 'pg'
import { SECURITY } from './http.js'
import { pauseBefore } from './db.js'

const HEARTBEAT = 15000       // ms; so that proxies keep the connection, and dead ones show
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
    this.heartbeat = setInterval(() => this.windows.forEach(window => window.response.write(':\n\n')), HEARTBEAT)
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
        if (!this.ending) await new Promise(resolve => setTimeout(resolve, 50 + pauseBefore(Math.min(failures, 6))))
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
      // fewer than a page: nothing else up to the head that was known before
      this.position = events.length === PAGE ? events.at(-1).position : Math.max(head, events.at(-1)?.position ?? 0)
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
  async connect (request, response, customer) {
    const window = new Window(response, customer)
    response.writeHead(200, { ...SECURITY, 'content-type': 'text/event-stream', 'cache-control': 'no-store', 'x-accel-buffering': 'no' })
    response.write('retry: 1000\n\n')
    this.windows.add(window)
    response.on('close', () => this.windows.delete(window))
    await this.catchUp(window, Number(request.headers['last-event-id'] ?? NaN))
  }

  async catchUp (window, last) {
    const missed = []
    if (Number.isSafeInteger(last) && last >= 0) {
      const [{ head }] = await this.database.query('SELECT pointstore.feed_head() AS head')
      if (last < head) missed.push(...await read(this.database, last, `${window.customer}/`))
      // a position from before a restore, or too far back to tell it all
      if (last > head || missed.length === PAGE) window.reset()
    }
    window.ready(missed)
  }

  async end () {
    this.ending = true
    clearInterval(this.heartbeat)
    this.windows.forEach(window => window.response.end())
    this.client?.connection?.stream?.destroy()
    await this.running
  }
}

class Window {
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

  write (text) {
    this.response.write(text)
  }
}

async function read (connection, after, prefix = null) {
  const result = await connection.query(
    `SELECT "position", aggregate_id, version, event_type
       FROM pointstore.read_feed($1, $2, aggregate_prefix => $3) ORDER BY "position"`, [after, PAGE, prefix])
  return result.rows ?? result
}
