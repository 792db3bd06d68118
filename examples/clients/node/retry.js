// retry(work): repeats what may be repeated, and nothing else. work() is a whole transaction.
//
// The answer says whether anything was written. Where none came (the connection is lost, the call was cancelled), nobody
// knows: then it is repeated with a requestId alone, which work() passes on, so that what was applied is replayed.
// Pauses have full jitter: anything between nothing and a bound that doubles.

const NOTHING_WRITTEN = /^(40001|40P01|55P03|PS013|57P03|08001|53300)$/    // serialization, deadlock, lock timeout, another node; no connection to begin with
const UNKNOWN = /^(08...|53...|57P01|57P02|57P05|57014)$/            // connection, out of room, shut down, crashed, idle, cancelled or timed out
const STALE = /^(PS001|PS010)$/                                      // decided on what is no longer so: for who reads again
const LOST = /^(Connection terminated|Client (has encountered|was closed)|timeout exceeded|Query read timeout|read E|write E|connect E)/
// of a host with several addresses none answered: Node's error has no message then
const isLost = error => LOST.test(error.message) || (error.name === 'AggregateError' && /^E[A-Z]+$/.test(error.code))

// The driver's own error: mappers wrap it. PostgreSQL's has a severity (EPIPE of the system has five letters too).
export function cause(error) {
  for (let e = error; e; e = e.parent ?? e.driverError ?? e.cause) if (e.severity || isLost(e)) return e
  return error
}

export function mayRepeat(error, { requestId, rereads } = {}) {
  const { severity, code, schema } = cause(error)
  if (error.stale || error.name === 'SequelizeOptimisticLockError') return Boolean(rereads)
  if (!severity) return isLost(cause(error)) && Boolean(requestId)
  if (code === '23505') return schema === 'pointstore'         // lost a race for a version; one of a table of yours stays
  return NOTHING_WRITTEN.test(code) || (UNKNOWN.test(code) && Boolean(requestId)) || (STALE.test(code) && Boolean(rereads))
}

// requestId: the one that work() uses. rereads: work() reads the version or the balance that it decides on.
export async function retry(work, { requestId, rereads, attempts = 5, pause = 50, longest = 5000, onRepeat = () => {} } = {}) {
  for (let attempt = 1; ; attempt++) {
    try {
      return await work()
    } catch (error) {
      if (attempt >= attempts || !mayRepeat(error, { requestId, rereads })) throw error
      onRepeat(error)
      await new Promise(go => setTimeout(go, Math.random() * Math.min(longest, pause * 2 ** (attempt - 1))))
    }
  }
}
