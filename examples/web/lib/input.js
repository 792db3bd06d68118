// What callers send, checked; 400 names the field.
import { Problem } from './problem.js'

const invalid = (field, detail) => new Problem(400, 'invalid_field', { field, detail })

export function wholeNumber (body, field, min, max) {
  const value = body[field]
  if (!Number.isInteger(value) || value < min || value > max) throw invalid(field, `a whole number from ${min} to ${max}`)
  return value
}

export function text (body, field, length) {
  const value = body[field] ?? ''
  // PostgreSQL has no zero byte in a text, and no half of a surrogate pair
  if (typeof value !== 'string' || value.length > length || value.includes('\0') || !isWellFormed(value)) {
    throw invalid(field, `a text of ${length} characters at most`)
  }
  return value.trim()
}

const isWellFormed = value => Buffer.from(value, 'utf8').toString('utf8') === value
