// What this window knows of the server: each resource with its ETag, kept fresh by the events.
import { read } from './api.js'

const known = new Map()
const listeners = new Set()

export const peek = path => known.get(path)
export const onChange = listener => listeners.add(listener)

export function learn (path, { etag, body }) {
  known.set(path, { etag, body })
  listeners.forEach(listener => listener(path))
}

// The resource as it is now: a 304 where nothing has changed.
export async function load (path) {
  const before = known.get(path)
  const { etag, body, unchanged } = await read(path, before?.etag)
  if (unchanged) return before
  // an older answer that was overtaken by a newer one is of no use
  if (known.get(path) !== before && body.version < (known.get(path)?.body.version ?? 0)) return known.get(path)
  learn(path, { etag, body })
  return known.get(path)
}

const pathsOf = resource => {
  const [kind, id] = resource.split('/')
  if (kind === 'stock') return ['/api/products']
  if (kind === 'order') return [`/api/orders/${id}`, '/api/orders']
  return [`/api/${kind}`]
}

const timers = new Map()

// Several changes in a moment are one request.
function refresh (path, then) {
  clearTimeout(timers.get(path))
  timers.set(path, setTimeout(() => load(path).then(then, () => {}), 50))
}

// Work of this window's own: events wait until it is done, since most of them will be its own.
let working = 0
const waiting = []

export async function during (work) {
  working++
  try {
    return await work()
  } finally {
    if (--working === 0) waiting.splice(0).forEach(receive => receive())
  }
}

// Another window's change: read it, and say so.
export function follow ({ changed, live }) {
  const source = new EventSource('/api/events')
  source.addEventListener('message', ({ data }) => {
    const receive = () => apply(JSON.parse(data), changed)
    if (working > 0) waiting.push(receive)
    else receive()
  })
  const all = () => [...known.keys()].forEach(path => refresh(path))
  source.addEventListener('reset', all)
  source.addEventListener('ready', () => { live(true); all() })
  source.addEventListener('error', () => live(false))
}

function apply ({ resource, version }, changed) {
  const [first, ...rest] = pathsOf(resource)
  rest.filter(path => known.has(path)).forEach(path => refresh(path))
  if (!known.has(first) || known.get(first).body.version >= version) return
  refresh(first, () => changed(resource.split('/')[0]))
}
