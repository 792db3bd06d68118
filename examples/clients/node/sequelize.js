// pointstore from Sequelize 6: by the functions, and by models that write both tables.
import pg from 'pg'
import { DataTypes, EmptyResultError, QueryTypes, Sequelize, Transaction } from 'sequelize'

// PGHOST, PGDATABASE and PGUSER are the driver's to read, here as everywhere
const sequelize = new Sequelize('', '', '', {
  dialect: 'postgres', dialectModule: pg, logging: false, pool: { max: 10 },
  host: process.env.PGHOST, database: process.env.PGDATABASE, username: process.env.PGUSER
})

const one = (sql, bind, transaction) => sequelize.query(sql, { bind, type: QueryTypes.SELECT, transaction }).then(rows => rows[0])
const named = ({ payload = {}, version = null, requestId = null }) => [JSON.stringify(payload), version, requestId]

// Alone: no transaction around it.
export const submit = (account, type, amount, requestId) =>
  one('SELECT * FROM pointstore.submit_event($1, $2, $3, request_id => $4)', [account, type, amount, requestId ?? null])

export const append = (tx, account, type, amount, options = {}) =>
  one('SELECT * FROM pointstore.append_event($1, $2, $3, $4, expected_version => $5, request_id => $6)', [account, type, amount, ...named(options)], tx)

export const tryAppend = (tx, account, type, amount, options = {}) =>
  one('SELECT * FROM pointstore.try_append_event($1, $2, $3, $4, expected_version => $5, request_id => $6)', [account, type, amount, ...named(options)], tx)

export const read = account => one('SELECT * FROM pointstore.get_balance($1)', [account])

export const transaction = (work, isolation = 'READ COMMITTED') =>
  sequelize.transaction({ isolationLevel: Transaction.ISOLATION_LEVELS[isolation.replace(' ', '_')] }, work)

// The models. timestamps: false, or it would look for createdAt. Never sync(): the tables are there.
const options = { sequelize, schema: 'pointstore', timestamps: false, freezeTableName: true }

export const Balance = sequelize.define('balance', {
  aggregateId: { type: DataTypes.TEXT, field: 'aggregate_id', primaryKey: true },
  version: DataTypes.BIGINT,
  balance: DataTypes.BIGINT
}, { ...options, version: 'version' })      // save() raises it by 1 and asks for the one that was read

export const StoredEvent = sequelize.define('event_store', {
  aggregateId: { type: DataTypes.TEXT, field: 'aggregate_id', primaryKey: true },
  version: { type: DataTypes.BIGINT, primaryKey: true },
  eventType: { type: DataTypes.TEXT, field: 'event_type' },
  amount: DataTypes.BIGINT,
  payload: DataTypes.JSONB,
  requestId: { type: DataTypes.TEXT, field: 'request_id' }
}, options)

// The store skips the INSERT of a request that is applied, and create() misses its row: read again (see retry.js)
const insert = (event, transaction) => StoredEvent.create(event, { transaction }).catch(error => {
  throw error instanceof EmptyResultError ? Object.assign(error, { stale: true }) : error
})

export async function payByMapper(account, amount, requestId, { insertFirst } = {}) {
  return sequelize.transaction(async transaction => {
    if (await StoredEvent.findOne({ where: { requestId }, transaction })) return 'replayed'
    const row = await Balance.findByPk(account, { transaction, rejectOnEmpty: true })
    const event = { aggregateId: account, version: String(BigInt(row.version) + 1n), eventType: 'PointSpent', amount: String(-amount), payload: {}, requestId }
    if (insertFirst) await insert(event, transaction)
    row.balance = String(BigInt(row.balance) - BigInt(amount))
    await row.save({ transaction })           // OptimisticLockError where another was faster
    if (!insertFirst) await insert(event, transaction)
    return 'appended'
  })
}

export const query = (tx, sql, bind) => sequelize.query(sql, { bind, transaction: tx })
export const end = () => sequelize.close()
