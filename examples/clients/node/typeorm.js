// pointstore from TypeORM: by the functions, and by entities that write both tables.
import { DataSource, EntitySchema } from 'typeorm'

const Balance = new EntitySchema({
  name: 'Balance', schema: 'pointstore', tableName: 'balance', synchronize: false,
  columns: {
    aggregateId: { name: 'aggregate_id', type: 'text', primary: true },
    version: { type: 'bigint' },              // a bigint is a string to TypeORM
    balance: { type: 'bigint' }
  }
})
const StoredEvent = new EntitySchema({
  name: 'StoredEvent', schema: 'pointstore', tableName: 'event_store', synchronize: false,
  columns: {
    aggregateId: { name: 'aggregate_id', type: 'text', primary: true },
    version: { type: 'bigint', primary: true },
    eventType: { name: 'event_type', type: 'text' },
    amount: { type: 'bigint' },
    payload: { type: 'jsonb' },
    requestId: { name: 'request_id', type: 'text', nullable: true }
  }
})

const source = new DataSource({
  type: 'postgres', entities: [Balance, StoredEvent], poolSize: 10,
  host: process.env.PGHOST, database: process.env.PGDATABASE, username: process.env.PGUSER,
  poolErrorHandler: () => {}                  // an idle connection that the server ended
})
await source.initialize()

const one = async (manager, sql, values) => (await manager.query(sql, values))[0]
const named = ({ payload = {}, version, requestId }) => [payload, version, requestId]

// Alone: no transaction around it.
export const submit = (account, type, amount, requestId) =>
  one(source, 'SELECT * FROM pointstore.submit_event($1, $2, $3, request_id => $4)', [account, type, amount, requestId])

export const append = (tx, account, type, amount, options = {}) =>
  one(tx, 'SELECT * FROM pointstore.append_event($1, $2, $3, $4, expected_version => $5, request_id => $6)', [account, type, amount, ...named(options)])

export const tryAppend = (tx, account, type, amount, options = {}) =>
  one(tx, 'SELECT * FROM pointstore.try_append_event($1, $2, $3, $4, expected_version => $5, request_id => $6)', [account, type, amount, ...named(options)])

export const read = account => one(source, 'SELECT * FROM pointstore.get_balance($1)', [account])

export const transaction = (work, isolation = 'READ COMMITTED') => source.transaction(isolation, work)

// save() checks no version: so say in the condition which one was read, and see whether a row was changed
export async function payByMapper(account, amount, requestId, { insertFirst } = {}) {
  return source.transaction(async manager => {
    if (await manager.findOneBy(StoredEvent, { requestId })) return 'replayed'
    const row = await manager.findOneByOrFail(Balance, { aggregateId: account })
    const version = String(BigInt(row.version) + 1n)
    const event = { aggregateId: account, version, eventType: 'PointSpent', amount: String(-amount), payload: {}, requestId }
    if (insertFirst) await manager.insert(StoredEvent, event)
    const { affected } = await manager.update(Balance, { aggregateId: account, version: row.version },
                                              { balance: String(BigInt(row.balance) - BigInt(amount)), version })
    if (affected !== 1) throw Object.assign(new Error(`account ${account} was changed meanwhile`), { stale: true })
    if (!insertFirst) await manager.insert(StoredEvent, event)
    return 'appended'
  })
}

// What save() does: it writes what it has in hand over what another has written. The store refuses that (PS001 or PS010).
export async function payBySave(account, amount, requestId) {
  return source.transaction(async manager => {
    const row = await manager.findOneByOrFail(Balance, { aggregateId: account })
    row.version = String(BigInt(row.version) + 1n)
    row.balance = String(BigInt(row.balance) - BigInt(amount))
    await manager.save(Balance, row)
    await manager.insert(StoredEvent, { aggregateId: account, version: row.version, eventType: 'PointSpent', amount: String(-amount), payload: {}, requestId })
  })
}

export const query = (tx, sql, values) => tx.query(sql, values)
export const end = () => source.destroy()
