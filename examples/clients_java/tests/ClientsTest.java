import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.sql.Types;
import java.util.List;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import org.postgresql.util.PSQLException;

/** Tests Wallet and Retry. */
final class ClientsTest {
    private static final long SECONDS = 60;         // for whatever is awaited
    private final Store store = new Store();
    private final Wallet wallet = new Wallet(store.as("shop_app"));
    private final Wallet byHand = new Wallet(store.as("shop_mapper"));
    private static final String APPEND = "SELECT * FROM pointstore.append_event(?, 'PointEarned', ?, request_id => ?)";

    ClientsTest() throws java.io.IOException {
    }

    public static void main(String[] arguments) throws Exception {
        ClientsTest test = new ClientsTest();
        test.store.create();
        Tap.section("wallet", test::wallet);
        Tap.section("two at once", test::twoAtOnce);
        Tap.section("by hand", test::byHand);
        Tap.section("rolled back", test::rolledBack);
        Tap.section("deadlock", test::deadlock);
        Tap.section("lost", test::lost);
        Tap.section("not repeated", test::notRepeated);
        Tap.section("storm", test::storm);
        Tap.is(test.store.faults(), "", "jdbc: the store is sound");
        System.exit(Tap.failures == 0 ? 0 : 1);
    }

    private void wallet() throws Exception {
        Tap.is(wallet.earn("user-1", 5000, "bonus-1"), new Wallet.Receipt("appended", 1, 5000), "jdbc: earns");
        Tap.is(wallet.earn("user-1", 5000, "bonus-1"), new Wallet.Receipt("replayed", 1, 5000), "the same request: the same answer");
        Tap.is(wallet.earn("user-1", 6000, "bonus-1").outcome(), "request_mismatch", "its id with another amount is refused");
        Tap.is(wallet.spend("user-1", "A-1", 4000), new Wallet.Receipt("appended", 2, 1000), "spends");
        Tap.is(wallet.spend("user-1", "A-1", 4000), new Wallet.Receipt("replayed", 2, 1000), "once");
        try {
            wallet.spend("user-1", "A-2", 4000);
            Tap.ok(false, "more than there is is PS003", "");
        } catch (PSQLException refused) {
            Tap.is(refused.getSQLState(), "PS003", "more than there is is PS003");
            Tap.is(refused.getServerErrorMessage().getDetail(), "aggregate_id=user-1, available=1000, floor=0, requested=-4000",
                    "with the reasons in its DETAIL");
        }
        Tap.is(store.account("user-1"), "2 1000", "nothing else has happened");
        long large = (1L << 53) + 1;
        Tap.is(wallet.earn("user-2", large, "large").balance(), large, "an amount is exact beyond 2^53");
        Tap.is(Tap.stateOf(() -> wallet.inTransaction(connection -> Wallet.receipt(connection,
                "SELECT * FROM pointstore.submit_event(?, 'PointEarned', 1)", "user-2"))), "25001", "submit_event in a transaction is 25001");
        Tap.is(wallet.inTransaction(connection -> {
            Wallet.receipt(connection, APPEND, "user-2", 1L, "before");
            return Tap.stateOf(() -> Wallet.receipt(connection, APPEND, "user-2", -2 * large, "much"));
        }), "PS003", "who catches an error and commits is told nothing by the driver");
        Tap.is(store.account("user-2"), "1 " + large, "and nothing is committed");
        Tap.is(withNull(statement -> statement.setNull(1, Types.VARCHAR)) + " " + withNull(statement -> statement.setNull(1, Types.BIGINT)) + " "
                + withNull(statement -> statement.setObject(1, null)), "42883 none none", "a null has its own type, or none");
        // pgJDBC prepares in the server from the fifth use on
        try (Connection connection = store.as("shop_app").getConnection()) {
            for (int i = 0; i < 12; i++) {
                Wallet.receipt(connection, APPEND, "user-3", 1L, "often-" + i);
            }
        }
        Tap.is(store.account("user-3"), "12 12", "a statement that is prepared goes on");
    }

    private interface Binding {
        void bind(PreparedStatement statement) throws SQLException;
    }

    /** The SQLSTATE of an append with an expected_version that is null. */
    private String withNull(Binding binding) throws SQLException {
        try (Connection connection = store.as("shop_app").getConnection(); PreparedStatement append = connection.prepareStatement(
                "SELECT outcome FROM pointstore.append_event('user-2', 'PointEarned', 0, expected_version => ?)")) {
            binding.bind(append);
            append.executeQuery().close();
            return "none";
        } catch (SQLException error) {
            return error.getSQLState();
        }
    }

    private void twoAtOnce() throws Exception {
        wallet.earn("user-4", 100, "first-4");
        List<Object> answers = Tap.together(() -> wallet.spendAt("user-4", 1, 60, "left"), () -> wallet.spendAt("user-4", 1, 60, "right"));
        List<String> outcomes = answers.stream().map(answer -> ((Wallet.Receipt) answer).outcome()).sorted().toList();
        Tap.is(outcomes, List.of("appended", "version_conflict"), "two from one version: one wins, the other is told");
        Wallet.Receipt loser = (Wallet.Receipt) answers.stream().filter(answer -> ((Wallet.Receipt) answer).outcome().startsWith("v")).findAny().get();
        Tap.is(loser.version() + " " + loser.balance(), store.account("user-4"), "what the account is now");
        answers = Tap.together(() -> wallet.spend("user-4", "one", 30), () -> wallet.spend("user-4", "two", 30));
        long done = answers.stream().filter(answer -> answer instanceof Wallet.Receipt).count();
        Tap.is(done + " " + answers.stream().filter(answer -> answer instanceof SQLException error && "PS003".equals(error.getSQLState())).count(),
                "1 1", "two from any version: no more than there is");
        answers = Tap.together(() -> wallet.earn("user-4", 7, "same"), () -> wallet.earn("user-4", 7, "same"));
        outcomes = answers.stream().map(answer -> ((Wallet.Receipt) answer).outcome()).sorted().toList();
        Tap.is(outcomes, List.of("appended", "replayed"), "one request twice at once: once");
    }

    private void byHand() throws Exception {
        wallet.earn("user-5", 1000, "first-5");
        List<Object> answers = Tap.together(() -> byHand.spendLocked("user-5", "half-1", 50), () -> byHand.spendLocked("user-5", "half-2", 50));
        Tap.ok(answers.stream().allMatch(answer -> answer instanceof Wallet.Receipt), "SELECT ... FOR UPDATE: the second waits", answers);
        Tap.is(store.account("user-5"), "3 250", "and decides on what the first has left");
        Tap.is(Tap.stateOf(() -> wallet.spendLocked("user-5", "half-3", 50)), "42501", "it takes more than the level writer");
        Tap.is(Tap.stateOf(() -> byHand.inTransaction(connection -> {
            Wallet.execute(connection, "UPDATE pointstore.balance SET balance = balance - 1, version = version + 1 WHERE aggregate_id = ?", "user-5");
            return null;
        })), "PS010", "a balance without its event is PS010");
        Tap.is(store.account("user-5"), "3 250", "and rolled back");
    }

    /** Real failures, each in the first attempt alone. */
    private void rolledBack() throws Exception {
        wallet.earn("user-6", 100, "first-6");
        AtomicInteger attempts = new AtomicInteger();
        Retry.call(Retry::undone, () -> wallet.inTransaction(connection -> {
            Wallet.execute(connection, "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE");
            Wallet.receipt(connection, "SELECT '' AS outcome, version, balance FROM pointstore.balance WHERE aggregate_id = ?", "user-6");
            if (attempts.incrementAndGet() == 1) {
                wallet.earn("user-6", 1, "meanwhile-6");
            }
            return Wallet.receipt(connection, APPEND, "user-6", 10L, "serializable-6");
        }));
        Tap.is(attempts + " " + store.account("user-6"), "2 3 111", "40001: a second attempt, applied once");

        attempts.set(0);
        try (Connection other = store.as("shop_app").getConnection()) {
            other.setAutoCommit(false);
            Wallet.receipt(other, APPEND, "user-6", 1000L, "other-6");
            Retry.call(Retry::undone, () -> {
                if (attempts.incrementAndGet() == 2) {
                    other.commit();
                }
                return wallet.inTransaction(connection -> {
                    Wallet.execute(connection, "SET LOCAL lock_timeout = " + (attempts.get() == 1 ? 10 : 0));
                    return Wallet.receipt(connection, APPEND, "user-6", 10L, "timeout-6");
                });
            });
        }
        Tap.is(attempts + " " + store.account("user-6"), "2 5 1121", "55P03: likewise");

        attempts.set(0);
        Retry.call(Retry::undoneOrUnknown, () -> wallet.inTransaction(connection -> {
            Wallet.Receipt receipt = Wallet.receipt(connection, APPEND, "user-6", 10L, "terminated-6");
            if (attempts.incrementAndGet() == 1) {
                terminate(connection);
                Tap.is(Tap.stateOf(() -> Wallet.execute(connection, "SELECT 1")), "57P01", "a session that was ended says so");
                Wallet.execute(connection, "SELECT 1");
            }
            return receipt;
        }));
        Tap.is(attempts + " " + store.account("user-6"), "2 6 1131", "57P01: likewise");
    }

    /** Returns when the session is gone. */
    private void terminate(Connection connection) throws SQLException {
        int pid = connection.unwrap(org.postgresql.PGConnection.class).getBackendPID();
        try {
            Tap.is(store.ask("SELECT pg_terminate_backend(" + pid + ", " + SECONDS * 1000 + ")"), "t", "a session is ended");
        } catch (Exception error) {
            throw new SQLException(error);
        }
    }

    private void deadlock() throws Exception {
        wallet.earn("left", 100, "left-1");
        wallet.earn("right", 100, "right-1");
        CyclicBarrier both = new CyclicBarrier(2);
        AtomicInteger attempts = new AtomicInteger();
        List<Object> answers = Tap.together(() -> crossing(both, attempts, "left", "right"), () -> crossing(both, attempts, "right", "left"));
        Tap.ok(answers.stream().allMatch(answer -> answer instanceof Wallet.Receipt), "40P01: both get through", answers);
        Tap.is(attempts.get(), 3, "one of them by a second attempt");
        Tap.is(store.account("left") + ", " + store.account("right"), "3 102, 3 102", "each once");
    }

    private Wallet.Receipt crossing(CyclicBarrier both, AtomicInteger attempts, String first, String second) throws SQLException {
        AtomicBoolean again = new AtomicBoolean();
        return Retry.call(Retry::undone, () -> wallet.inTransaction(connection -> {
            attempts.incrementAndGet();
            Wallet.receipt(connection, APPEND, first, 1L, "one-of-" + first);
            if (!again.getAndSet(true)) {
                await(both);
            }
            return Wallet.receipt(connection, APPEND, second, 1L, "two-of-" + first);
        }));
    }

    private static void await(CyclicBarrier barrier) {
        try {
            barrier.await(SECONDS, TimeUnit.SECONDS);
        } catch (Exception error) {
            throw new IllegalStateException(error);
        }
    }

    private void lost() throws Exception {
        wallet.earn("user-7", 1000, "first-7");
        store.proxy.loseAnswerTo("try_submit_event");
        Tap.is(wallet.earn("user-7", 10, "answer-7"), new Wallet.Receipt("replayed", 2, 1010), "the answer of submit_event is lost: it was done");
        store.proxy.loseQuestion("try_submit_event");
        Tap.is(wallet.earn("user-7", 10, "question-7"), new Wallet.Receipt("appended", 3, 1020), "the question is lost: it is done now");
        store.proxy.loseAnswerTo("COMMIT");
        Tap.is(wallet.spend("user-7", "B-1", 100), new Wallet.Receipt("replayed", 4, 920), "the answer of COMMIT is lost: it was done");
        store.proxy.loseQuestion("COMMIT");
        Tap.is(wallet.spend("user-7", "B-2", 100), new Wallet.Receipt("appended", 5, 820), "the COMMIT itself: it is done now");
        store.proxy.loseAnswerTo("append_event");
        Tap.is(wallet.spend("user-7", "B-3", 100), new Wallet.Receipt("appended", 6, 720), "an answer before COMMIT: likewise");
        Tap.ok(store.proxy.hasLost(), "all that was lost was lost", "");
        Tap.is(store.account("user-7"), "6 720", "nothing is lost, nothing doubled");

        AtomicInteger attempts = new AtomicInteger();
        store.proxy.refuse(true);
        Wallet.Receipt receipt = Retry.call(Retry::undoneOrUnknown, () -> {
            store.proxy.refuse(attempts.incrementAndGet() == 1);
            return wallet.inTransaction(connection -> Wallet.receipt(connection, APPEND, "user-7", 1L, "refused-7"));
        });
        Tap.is(attempts + " " + receipt.balance(), "2 721", "no connection: again");
        Tap.is(Tap.stateOf(() -> {
            org.postgresql.ds.PGSimpleDataSource nobody = store.as("shop_app");
            try (java.net.ServerSocket taken = new java.net.ServerSocket(0)) {
                nobody.setPortNumbers(new int[] { taken.getLocalPort() });
            }
            nobody.getConnection().close();
        }), "08001", "where nobody listens it is 08001");
    }

    private void notRepeated() throws Exception {
        wallet.earn("user-8", 100, "first-8");
        AtomicInteger attempts = new AtomicInteger();
        Tap.is(Tap.stateOf(() -> Retry.call(Retry::undoneOrUnknown, () -> wallet.inTransaction(connection -> {
            attempts.incrementAndGet();
            return Wallet.receipt(connection, APPEND, "user-8", -200L, "much-8");
        }))) + " " + attempts, "PS003 1", "a refusal is not repeated");
        attempts.set(0);
        store.proxy.loseAnswerTo("COMMIT");
        String state = Tap.stateOf(() -> Retry.call(Retry::undone, () -> wallet.inTransaction(connection -> {
            attempts.incrementAndGet();
            return Wallet.receipt(connection, "SELECT * FROM pointstore.append_event(?, 'PointEarned', 1)", "user-8");
        })));
        Tap.is(state.substring(0, 2) + " " + attempts, "08 1", "nor is a lost answer without a request_id");
        Tap.is(store.account("user-8"), "2 101", "which would have doubled it");
        StringBuilder undone = new StringBuilder(), unknown = new StringBuilder();
        for (String each : ("08001 08003 08006 22003 22023 23505 25001 25006 25P02 40001 40P01 42501 53200 53300 55000 55P03 57014 57P01 57P02 57P03 57P05"
                + " PS001 PS002 PS003 PS004 PS005 PS006 PS007 PS008 PS009 PS010 PS011 PS012 PS013 PS014 XX001").split(" ")) {
            SQLException error = new SQLException("injected", each);
            undone.append(Retry.undone(error) ? " " + each : "");
            unknown.append(!Retry.undone(error) && Retry.undoneOrUnknown(new RuntimeException(error)) ? " " + each : "");
        }
        Tap.is(undone.toString(), " 08001 40001 40P01 53300 55P03 57P03 PS013", "what was undone is repeated");
        Tap.is(unknown.toString(), " 08003 08006 53200 57014 57P01 57P02 57P05", "and with a request_id what is unknown, and nothing else");
        attempts.set(0);
        long began = System.nanoTime();
        Tap.is(Tap.stateOf(() -> Retry.call(Retry::undone, () -> {
            attempts.incrementAndGet();
            throw new SQLException("always", "40001");
        })) + " " + attempts, "40001 5", "the fifth attempt is the last");
        Tap.ok(System.nanoTime() - began < 2_000_000_000L, "within a second or so", System.nanoTime() - began);
    }

    /** Clients that earn, spend and transfer, while connections are cut and sessions ended. */
    private void storm() throws Exception {
        int clients = 4, each = 8;
        for (int i = 0; i < clients; i++) {
            wallet.earn("storm-" + i, 1000, "storm-" + i);
        }
        store.storm("shop_app", clients, each, 10, Retry::undoneOrUnknown, (n, j, step) -> {
            String name = n + "-" + j;
            step.take(() -> wallet.earn("storm-" + n, 10, "earn-" + name));
            step.take(() -> wallet.spend("storm-" + n, "storm-" + name, 3));
            step.take(() -> Retry.call(Retry::undoneOrUnknown, () -> wallet.inTransaction(connection ->
                    Wallet.receipt(connection, "SELECT * FROM pointstore.transfer(?, ?, 1, ?)",
                            "storm-" + n, "storm-" + (n + 1) % clients, "transfer-" + name))));
        });
        Tap.is(store.ask("SELECT sum(balance) FROM pointstore.balance WHERE aggregate_id LIKE 'storm-%'"),
                Long.toString(clients * (1000 + each * (10 - 3))), "nothing is lost, nothing doubled");
        Tap.is(store.ask("SELECT count(*) FROM pointstore.event_store WHERE aggregate_id LIKE 'storm-%'"),
                Long.toString(clients * (1 + each * 4)), "nor any event");
    }
}
