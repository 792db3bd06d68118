// Conditional requests (RFC 9110, 13). A resource's ETag is its account's version, in quotes: the
// representation is made from the events up to that version and from nothing else, so the tag is
// a strong one. If-Match compares strongly: a weak tag (W/"7") matches nothing, on purpose.
import { Problem } from './problem.js'

export const etag = version => `"${version}"`

const VERSION = /^"(0|[1-9]\d{0,14})"$/
const TAG = /(W\/)?("[\x21\x23-\x7e\x80-\xff]*")/.source         // a comma may be in it
const TAGS = new RegExp(`^[ \\t,]*${TAG}([ \\t]*,[ \\t,]*${TAG})*[ \\t,]*$`)

function parse (header) {
  if (header.trim() === '*') return '*'
  if (!TAGS.test(header)) throw new Problem(400, 'malformed_header', { detail: 'an ETag is a string in double quotes' })
  return [...header.matchAll(new RegExp(TAG, 'g'))].map(([, weak, tag]) => ({ weak: Boolean(weak), tag }))
}

// The version that a change rests on, null = any (*): for append_event's expected_version, which is
// judged after the request_id, so that the repeat of a lost answer is replayed though its If-Match
// is stale by then. `read` says the current representation; it is asked where there is a choice.
export async function expectedVersion (request, read) {
  const header = request.headers['if-match']
  if (header === undefined) throw new Problem(428, 'precondition_required')
  const tags = parse(header)
  if (tags === '*') return null
  const versions = tags.filter(({ weak, tag }) => !weak && VERSION.test(tag)).map(({ tag }) => Number(tag.slice(1, -1)))
  if (versions.length === 1) return versions[0]
  const current = await read()
  if (versions.length === 0) throw preconditionFailed(current)
  return versions.includes(current.version) ? current.version : versions[0]
}

// 412, with what is there now: who asked can show it, and decide again without another request.
export function preconditionFailed (current, members = {}) {
  return new Problem(412, 'precondition_failed', { ...members, current }, { etag: etag(current.version) })
}

// Does the work of a conditional change; a conflict of versions on this account becomes a 412.
export async function conditionally (request, account, read, change) {
  const expected = await expectedVersion(request, read)
  try {
    return await change(expected)
  } catch (error) {
    if (error.code !== 'PS001' || !error.detail?.includes(`aggregate_id=${account},`)) throw error
    throw preconditionFailed(await read(), { sqlstate: 'PS001', expected_version: expected })
  }
}

// A GET's answer: 304 where the caller has it already
export function unlessKnown (request, tag, body) {
  const header = request.headers['if-none-match']
  const tags = header === undefined ? [] : parse(header)
  if (tags === '*' || tags.some(known => known.tag === tag)) return { status: 304, headers: { etag: tag } }
  return { status: 200, headers: { etag: tag }, body }
}

// The Idempotency-Key becomes the request_id: with the customer before it, so that nobody meets
// another's. It names one request: the same key with another body, or elsewhere, is a 422.
export function requestId (request) {
  const key = request.headers['idempotency-key']
  if (!/^[\x21-\x7e]{1,128}$/.test(key ?? '')) {
    throw new Problem(400, 'idempotency_key_required', { detail: 'Idempotency-Key: 1 to 128 printable characters, the same in each repeat' })
  }
  return `${request.customer}/${key}`
}
