// The browser's side: one page and its files, read once. The page comes in the visitor's language:
// the cookie `language` (the switch on the page sets it), else Accept-Language, else English.
import { readdirSync, readFileSync } from 'node:fs'
import { createHash } from 'node:crypto'
import { extname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { cookies, SECURITY } from './http.js'
import { unlessKnown } from './conditions.js'
import { Problem } from './problem.js'

const ROOT = fileURLToPath(new URL('../public', import.meta.url))
const TYPES = {
  '.html': 'text/html; charset=utf-8', '.js': 'text/javascript; charset=utf-8', '.css': 'text/css; charset=utf-8', '.svg': 'image/svg+xml'
}
const LANGUAGES = ['en', 'ko']
const PAGES = /^\/(checkout|orders(\/[a-f0-9]{12})?|wallet|profile)?$/

const files = new Map(list(ROOT).map(path => [`/${relative(ROOT, path)}`, readFileSync(path)]))

function list (folder) {
  return readdirSync(folder, { withFileTypes: true }).flatMap(entry =>
    entry.isDirectory() ? list(join(folder, entry.name)) : [join(folder, entry.name)])
}

export function languageOf (request) {
  const { language } = cookies(request)
  if (LANGUAGES.includes(language)) return language
  const wanted = (request.headers['accept-language'] ?? '').split(',').map(part => {
    const [range, ...parameters] = part.trim().toLowerCase().split(/\s*;\s*/)
    const q = parameters.find(parameter => parameter.startsWith('q='))
    return { primary: range.split('-')[0], q: q === undefined ? 1 : Number(q.slice(2)) || 0 }
  })
  const best = wanted.filter(({ primary, q }) => q > 0 && LANGUAGES.includes(primary)).sort((a, b) => b.q - a.q)[0]
  return best?.primary ?? 'en'
}

export const isPage = path => PAGES.test(path)

export function page (request) {
  const language = languageOf(request)
  return {
    body: Buffer.from(files.get('/index.html').toString('utf8').replace('lang="en"', `lang="${language}"`)),
    headers: { 'content-type': TYPES['.html'], 'content-language': language, vary: 'Accept-Language, Cookie', 'cache-control': 'private, no-cache' }
  }
}

// Whoever follows a link that leads nowhere sees a page that says so.
export function missing (request) {
  if (request.method !== 'GET' || !request.headers.accept?.includes('text/html')) throw new Problem(404, 'not_found')
  return { ...page(request), status: 404 }
}

export function file (request, path) {
  const body = files.get(path)
  if (!body || path === '/index.html') return null
  const tag = `"${createHash('sha256').update(body).digest('base64url')}"`
  const { status, headers } = unlessKnown(request, tag)
  return { status, body: status === 304 ? '' : body, headers: { ...headers, 'content-type': TYPES[extname(path)], 'cache-control': 'no-cache' } }
}

export function sendFile (response, { status = 200, headers, body }) {
  response.writeHead(status, { ...SECURITY, ...headers })
  response.end(body)
}
