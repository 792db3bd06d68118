// GET /api/profile      { version, fields }
// PATCH /api/profile    a JSON merge patch of the fields, with If-Match: "0" before there is one
import { conditionally, etag, requestId, unlessKnown } from './conditions.js'
import { Problem } from './problem.js'
import { text } from './input.js'

const FIELDS = { name: 60, phone: 30, address: 200, message: 100 }

export function profileRoutes (database) {
  async function profile (customer, version) {
    const { version: at, state } = await database.state(`${customer}/profile`, version)
    return { version: at, fields: state }
  }

  async function get (request) {
    const current = await profile(request.customer)
    return unlessKnown(request, etag(current.version), current)
  }

  function patchOf (body) {
    const unknown = Object.keys(body).find(field => !Object.hasOwn(FIELDS, field))
    if (unknown !== undefined) throw new Problem(400, 'invalid_field', { field: unknown })
    return Object.fromEntries(Object.entries(body).map(([field, value]) => [field, value === null ? null : text(body, field, FIELDS[field])]))
  }

  async function patch (request) {
    const payload = patchOf(request.body)
    const account = `${request.customer}/profile`
    return conditionally(request, account, () => profile(request.customer), async expected => {
      const [receipt] = await database.append(requestId(request), [
        { aggregate_id: account, event_type: 'ProfileChanged', payload, expected_version: expected, kind: 'profile' }])
      const after = await profile(request.customer, receipt.version)
      return { status: 200, headers: { etag: etag(after.version) }, body: after }
    })
  }

  return [
    ['GET', '/api/profile', get],
    ['PATCH', '/api/profile', patch]
  ]
}
