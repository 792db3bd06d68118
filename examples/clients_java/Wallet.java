import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import javax.sql.DataSource;

/** A wallet of points over JDBC: by the functions, and by SELECT … FOR UPDATE and both tables. */
class Wallet {
    private final DataSource dataSource;

    Wallet(DataSource dataSource) {
        this.dataSource = dataSource;
    }

    record Receipt(String outcome, long version, long balance) { }

    interface Work<T> {
        T run(Connection connection) throws SQLException;
    }

    /** Work in a transaction of its own; what goes wrong first is what is thrown, also where the connection is lost. */
    <T> T inTransaction(Work<T> work) throws SQLException {
        try (Connection connection = dataSource.getConnection()) {
            connection.setAutoCommit(false);
            try {
                T result = work.run(connection);
                connection.commit();
                return result;
            } catch (SQLException | RuntimeException error) {
                try {
                    connection.rollback();
                } catch (SQLException lost) {
                    error.addSuppressed(lost);
                }
                throw error;
            }
        }
    }

    /** Alone, in autocommit: combined with what others append at the same time. A refusal is an outcome. */
    Receipt earn(String userId, long amount, String requestId) throws SQLException {
        return Retry.call(Retry::undoneOrUnknown, () -> {
            try (Connection connection = dataSource.getConnection()) {
                return receipt(connection, "SELECT * FROM pointstore.try_submit_event(?, 'PointEarned', ?, request_id => ?)",
                        userId, amount, requestId);
            }
        });
    }

    /** In a transaction: the event and what belongs to it, or neither. A refusal is an SQLException: PS003 and the like. */
    Receipt spend(String userId, String orderId, long amount) throws SQLException {
        return Retry.call(Retry::undoneOrUnknown, () -> inTransaction(connection -> receipt(connection,
                "SELECT * FROM pointstore.append_event(?, 'PointSpent', ?, ?::jsonb, request_id => ?)",
                userId, -amount, "{\"order\": \"" + orderId + "\"}", "spend-" + orderId)));
    }

    /** Only if the account is still as it was when the caller looked at it: outcome version_conflict, and what it is now. */
    Receipt spendAt(String userId, long version, long amount, String requestId) throws SQLException {
        return Retry.call(Retry::undoneOrUnknown, () -> inTransaction(connection -> receipt(connection,
                "SELECT * FROM pointstore.try_append_event(?, 'PointSpent', ?, expected_version => ?, request_id => ?)",
                userId, -amount, version, requestId)));
    }

    /** What is there is locked first, then decided upon, then written: balance and event, in this order. */
    Receipt spendLocked(String userId, String orderId, long percent) throws SQLException {
        return Retry.call(Retry::undone, () -> inTransaction(connection -> {
            Receipt now = receipt(connection,
                    "SELECT 'locked' AS outcome, version, balance FROM pointstore.balance WHERE aggregate_id = ? FOR UPDATE", userId);
            long amount = now.balance() * percent / 100;
            execute(connection, "UPDATE pointstore.balance SET balance = balance - ?, version = version + 1 WHERE aggregate_id = ?",
                    amount, userId);
            execute(connection, "INSERT INTO pointstore.event_store (aggregate_id, version, event_type, amount, payload, request_id)"
                    + " VALUES (?, ?, 'PointSpent', ?, ?::jsonb, ?)",
                    userId, now.version() + 1, -amount, "{\"percent\": " + percent + "}", "spend-" + orderId);
            return new Receipt("appended", now.version() + 1, now.balance() - amount);
        }));
    }

    static Receipt receipt(Connection connection, String query, Object... arguments) throws SQLException {
        try (PreparedStatement statement = prepare(connection, query, arguments); ResultSet row = statement.executeQuery()) {
            row.next();
            return new Receipt(row.getString("outcome"), row.getLong("version"), row.getLong("balance"));
        }
    }

    static void execute(Connection connection, String statement, Object... arguments) throws SQLException {
        try (PreparedStatement prepared = prepare(connection, statement, arguments)) {
            prepared.execute();
        }
    }

    private static PreparedStatement prepare(Connection connection, String text, Object... arguments) throws SQLException {
        PreparedStatement statement = connection.prepareStatement(text);
        for (int i = 0; i < arguments.length; i++) {
            statement.setObject(i + 1, arguments[i]);
        }
        return statement;
    }
}
