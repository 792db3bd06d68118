// Requests. A change carries an Idempotency-Key that stays the same while it is repeated: when the
// answer is lost, or the server says 503, the same request is sent again and is applied once.
const ATTEMPTS = 5

export class Refusal extends Error {
  constructor (problem, etag) {
    super(problem.code)
    Object.assign(this, problem, { etag })
  }
}

export function newKey () {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), byte => byte.toString(16).padStart(2, '0')).join('')
}

const pause = seconds => new Promise(resolve => setTimeout(resolve, 1000 * seconds))

async function attempt (path, options) {
  for (let n = 1; ; n++) {
    let response
    try {
      response = await fetch(path, { ...options, signal: AbortSignal.timeout(10000) })
    } catch {
      if (n === ATTEMPTS) throw new Refusal({ code: 'network' })
    }
    if (response && (response.status !== 503 || n === ATTEMPTS)) return response
    const asked = Number(response?.headers.get('retry-after') ?? 0)
    await pause(asked + Math.random() * 0.2 * 2 ** n)
  }
}

async function answerOf (response) {
  const etag = response.headers.get('etag')
  if (response.status === 304) return { etag, unchanged: true }
  const body = await response.json()
  if (!response.ok) throw new Refusal({ ...body, code: body.type.split('/').at(-1) }, etag)
  return { etag, body }
}

export async function read (path, etag) {
  return answerOf(await attempt(path, { headers: etag ? { 'if-none-match': etag } : {} }))
}

export async function change (method, path, body, { ifMatch, key = newKey() } = {}) {
  const headers = { 'content-type': method === 'PATCH' ? 'application/merge-patch+json' : 'application/json', 'idempotency-key': key }
  if (ifMatch) headers['if-match'] = ifMatch
  return answerOf(await attempt(path, { method, headers, body: JSON.stringify(body) }))
}
