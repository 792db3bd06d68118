// What is refused, as application/problem+json (RFC 9457). A refusal of pointstore has a fixed
// SQLSTATE and, in its DETAIL, "key=value, key=value" for programs: both become members.
import { isRepeatable, sqlstateOf } from './db.js'

export class Problem extends Error {
  constructor (status, code, members = {}, headers = {}) {
    super(code)
    this.status = status
    this.code = code
    this.members = members
    this.headers = headers
  }

  reply () {
    return {
      status: this.status,
      headers: { 'content-type': 'application/problem+json', ...this.headers },
      body: { type: `/problems/${this.code}`, title: TITLES[this.code] ?? this.code.replaceAll('_', ' '), status: this.status, ...this.members }
    }
  }
}

const TITLES = {
  precondition_required: 'Say which version you have seen, in If-Match',
  precondition_failed: 'It has changed since you have seen it',
  version_conflict: 'Something that this rests on has changed',
  request_mismatch: 'This Idempotency-Key was used for something else',
  insufficient_balance: 'There is not enough',
  balance_limit: 'That is more than there may be',
  transition_not_allowed: 'Not in this state',
  unavailable: 'Not now: try again'
}

const REFUSALS = {
  PS001: [409, 'version_conflict'],
  PS002: [422, 'request_mismatch'],
  PS003: [409, 'insufficient_balance'],
  PS004: [423, 'account_frozen'],
  PS005: [410, 'account_closed'],
  PS007: [409, 'hold_not_open'],
  PS008: [404, 'account_missing'],
  PS009: [409, 'balance_limit'],
  PS011: [409, 'not_allowed'],
  PS012: [409, 'transition_not_allowed'],
  PS014: [409, 'lease_lost'],
  22003: [400, 'out_of_range']
}

// Any error as a problem. What is no refusal is a bug of ours: it is logged, and not told.
export function problemOf (error) {
  if (error instanceof Problem) return error
  const refusal = REFUSALS[error.code]
  if (refusal) {
    return new Problem(...refusal, { detail: error.message, sqlstate: error.code, ...membersOf(error.detail) })
  }
  if (isRepeatable(error) || error.code === '57014') {
    return new Problem(503, 'unavailable', { sqlstate: sqlstateOf(error) }, { 'retry-after': '1' })
  }
  console.error(error)
  return new Problem(500, 'internal')
}

// 'available=1000, floor=0' -> { available: 1000, floor: 0 }; texts may be in quotes, as in JSON
export function membersOf (detail) {
  const members = {}
  for (const [, key, value] of (detail ?? '').matchAll(/(?:^|, )([a-z_]+)=("(?:[^"\\]|\\.)*"|.*?)(?=, [a-z_]+=|$)/g)) {
    members[key] = /^(-?\d{1,15}|".*")$/.test(value) ? JSON.parse(value) : value
  }
  return members
}
