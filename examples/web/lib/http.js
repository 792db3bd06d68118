// HTTP without a framework: routes, bodies and their limits, replies.
// A route is [method, path, handler]; a handler takes a request and returns { status, headers, body },
// or, for what goes on, { status, headers, stream }: a function of the response.
import { Problem, problemOf } from './problem.js'

const BODY_LIMIT = 16 * 1024
const JSON_TYPES = /^application\/(merge-patch\+)?json\s*(;|$)/i

export const SECURITY = {
  'content-security-policy': "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'same-origin',
  'cross-origin-opener-policy': 'same-origin'
}

export function pathOf ({ url }) {
  try {
    return new URL(url.startsWith('/') ? `http://shop${url}` : url).pathname
  } catch {
    throw new Problem(400, 'malformed_address')
  }
}

export function notAllowed (methods) {
  const allow = methods.flatMap(method => method === 'GET' ? ['GET', 'HEAD'] : [method]).join(', ')
  return new Problem(405, 'method_not_allowed', {}, { allow })
}

export function router (routes) {
  const compiled = routes.map(([method, path, handler]) => ({
    method,
    handler,
    pattern: new RegExp(`^${path.replace(/:(\w+)/g, '(?<$1>[a-z0-9-]{1,64})')}$`)
  }))
  return (method, path) => {
    const found = compiled.map(route => ({ ...route, match: route.pattern.exec(path) })).filter(route => route.match)
    if (found.length === 0) throw new Problem(404, 'not_found')
    const route = found.find(candidate => candidate.method === method)
    if (!route) throw notAllowed(found.map(candidate => candidate.method))
    return { handler: route.handler, params: { ...route.match.groups } }
  }
}

export function cookies (request) {
  const pairs = (request.headers.cookie ?? '').split(';').map(part => part.trim().split('='))
  return Object.fromEntries(pairs.filter(pair => pair.length === 2))
}

export async function readJson (request) {
  if (!JSON_TYPES.test(request.headers['content-type'] ?? '')) throw new Problem(415, 'unsupported_media_type')
  const chunks = []
  let size = 0
  for await (const chunk of request) {
    size += chunk.length
    if (size > BODY_LIMIT) throw new Problem(413, 'body_too_large', {}, { connection: 'close' })
    chunks.push(chunk)
  }
  let body
  try {
    body = JSON.parse(Buffer.concat(chunks).toString('utf8'))
  } catch {
    throw new Problem(400, 'malformed_json')
  }
  if (body === null || typeof body !== 'object' || Array.isArray(body)) throw new Problem(400, 'malformed_json')
  return body
}

// A page of another site may not have a visitor's browser change anything here.
export function refuseCrossSite (request) {
  const site = request.headers['sec-fetch-site']
  if (site !== undefined && site !== 'same-origin' && site !== 'none') throw new Problem(403, 'cross_site')
}

export function send (response, { status, headers = {}, body, stream }) {
  const text = body === undefined ? '' : JSON.stringify(body)
  const type = body === undefined ? {} : { 'content-type': 'application/json' }
  response.writeHead(status, { ...SECURITY, 'cache-control': 'private, no-cache', ...type, ...headers })
  if (stream && response.req.method !== 'HEAD') return stream(response)
  response.end(text)
}

export function sendError (response, error) {
  const problem = problemOf(error)
  if (response.headersSent) response.destroy()
  else send(response, problem.reply())
}
