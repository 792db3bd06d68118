import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import javax.persistence.EntityManager;
import javax.persistence.EntityManagerFactory;
import javax.persistence.LockModeType;
import javax.persistence.OptimisticLockException;
import javax.persistence.Persistence;

/** Tests Payments with the mapper whose persistence unit is named. */
final class MapperTest {
    private final Store store = new Store();
    private final String mapper;
    private final EntityManagerFactory factory;
    private final Payments payments;

    MapperTest(String mapper) throws Exception {
        this.mapper = mapper;
        factory = Persistence.createEntityManagerFactory(mapper, Map.of("javax.persistence.jdbc.url", store.mapperUrl(),
                "javax.persistence.jdbc.user", "shop_mapper", "javax.persistence.jdbc.password", ""));
        payments = new Payments(factory);
    }

    public static void main(String[] arguments) throws Exception {
        MapperTest test = new MapperTest(arguments[0]);
        Tap.section("changes", test::changes);
        for (Payments.Flush first : Payments.Flush.values()) {
            Tap.section(first.toString(), () -> test.flushed(first));
        }
        Tap.section("locked", test::locked);
        Tap.section("refused", test::refused);
        Tap.section("native", test::nativeQueries);
        Tap.section("lost", test::lost);
        Tap.section("storm", test::storm);
        Tap.is(test.store.faults(), "", test.mapper + ": the store is sound");
        test.factory.close();
        System.exit(Tap.failures == 0 ? 0 : 1);
    }

    /** An account with a first event. */
    private String open(String name, long amount) throws Exception {
        String userId = mapper + "-" + name;
        store.ask("SELECT pointstore.append_event('" + userId + "', 'PointEarned', " + amount + ")");
        return userId;
    }

    private void changes() throws Exception {
        String userId = mapper + "-new";
        payments.inTransaction(entities -> entities.createNativeQuery("SELECT CAST(pointstore.open_account(?1) AS text)")
                .setParameter(1, userId).getSingleResult());
        Tap.is(payments.change(userId, 5000, userId + "-bonus") + ", " + store.account(userId), "5000, 1 5000", mapper + ": earns, on a new account");
        Tap.is(payments.change(userId, -4000, userId + "-A-1") + ", " + store.account(userId), "1000, 2 1000", "spends");
        Tap.is(payments.change(userId, -4000, userId + "-A-1") + ", " + store.account(userId), "1000, 2 1000", "the same request: the same answer, once");
        List<Object> answers = Tap.together(() -> payments.change(userId, 5, userId + "-same"), () -> payments.change(userId, 5, userId + "-same"));
        Tap.is(answers + ", " + store.account(userId), "[1005, 1005], 3 1005", "one request twice at once: once");
        Tap.is(payments.changeLocked(userId, -100, userId + "-A-2") + ", " + store.account(userId), "905, 4 905", "spends under a lock");
        Tap.is(store.ask("SELECT string_agg(event_type || amount || payload::text, ',' ORDER BY version) FROM pointstore.event_store WHERE aggregate_id = '" + userId + "'"),
                "PointEarned5000{\"by\": \"mapper\"},PointSpent-4000{\"by\": \"mapper\"},PointEarned5{\"by\": \"mapper\"},PointSpent-100{\"by\": \"mapper\"}", "events are as given");
        payments.inTransaction(entities -> {
            Payments.changeIn(entities, LockModeType.NONE, Payments.Flush.BY_MAPPER, userId, 50, userId + "-A-3");
            entities.flush();
            StoredEvent.Key key = new StoredEvent.Key();
            key.aggregateId = userId;
            key.version = 5;
            StoredEvent event = entities.find(StoredEvent.class, key);
            entities.refresh(event);
            Tap.is(event.balanceAfter + " " + (event.eventId != null) + " " + (event.createdAt != null), "955 true true", "refresh() reads what the store has written");
            Payments.changeIn(entities, LockModeType.NONE, Payments.Flush.BY_MAPPER, userId, 1, userId + "-A-4");
            return null;
        });
        Tap.is(store.account(userId), "6 956", "two changes in one transaction, flushed between");
        payments.change(userId, 0, userId + "-A-5");
        Tap.is(store.account(userId), "7 956", "an event of amount 0 raises the version");
    }

    /** Two EntityManagers read one version, then both change: one wins, the other is told. */
    private void flushed(Payments.Flush first) throws Exception {
        String userId = open(first.toString(), 100);
        payments.inTransaction(entities -> Payments.changeIn(entities, LockModeType.NONE, first, userId, 10, userId + "-1"));
        Tap.is(store.account(userId), "2 110", "flushed " + first);
        CyclicBarrier both = new CyclicBarrier(2);
        List<Object> answers = Tap.together(() -> afterBoth(both, first, userId, "left"), () -> afterBoth(both, first, userId, "right"));
        List<Object> errors = new ArrayList<>(answers);
        errors.removeIf(answer -> answer instanceof Long);
        Tap.is(errors.size() + " " + store.account(userId), "1 3 60", "two from one version: one wins");
        Throwable loser = (Throwable) errors.get(0);
        Tap.ok(Payments.somebodyWasFaster(loser), "the other is told", Tap.trace(List.of(loser)));
        boolean byMapper = false;
        for (Throwable cause = loser; cause != null; cause = cause.getCause()) {
            byMapper |= cause instanceof OptimisticLockException;
        }
        // Hibernate inserts before it updates; EclipseLink goes class by class
        boolean updatesFirst = first == Payments.Flush.BALANCE_FIRST || first == Payments.Flush.BY_MAPPER && mapper.equals("eclipselink");
        Tap.is(byMapper + " " + Retry.sqlState(loser), updatesFirst ? "true " : "false PS001",
                updatesFirst ? "by an OptimisticLockException, since the UPDATE came first" : "by PS001, since the INSERT came first");
        answers = Tap.together(() -> payments.change(userId, -20, userId + "-3"), () -> payments.change(userId, -20, userId + "-4"));
        Tap.ok(answers.stream().allMatch(answer -> answer instanceof Long), "read again and repeated, both get through", answers);
        Tap.is(store.account(userId), "5 20", "each once");
    }

    private long afterBoth(CyclicBarrier both, Payments.Flush first, String userId, String side) {
        return payments.inTransaction(entities -> {
            entities.find(Balance.class, userId);
            await(both);
            return Payments.changeIn(entities, LockModeType.NONE, first, userId, -50, userId + "-" + side);
        });
    }

    private void locked() throws Exception {
        String userId = open("locked", 100);
        AtomicInteger attempts = new AtomicInteger();
        Tap.Question<?> question = () -> payments.inTransaction(entities -> Payments.changeIn(entities, LockModeType.PESSIMISTIC_WRITE,
                Payments.Flush.BY_MAPPER, userId, -40, userId + "-" + attempts.incrementAndGet()));
        List<Object> answers = Tap.together(question, question);
        Tap.ok(answers.stream().allMatch(answer -> answer instanceof Long), "PESSIMISTIC_WRITE: the second waits", answers);
        Tap.is(store.account(userId), "3 20", "and decides on what the first has left");
        Tap.is(Tap.stateOf(question::ask), "PS003", "more than there is is PS003");
    }

    private void refused() throws Exception {
        String userId = open("refused", 100);
        Tap.is(Tap.stateOf(() -> payments.inTransaction(entities -> {
            entities.find(Balance.class, userId).balance -= 10;
            return null;
        })), "PS010", "a balance without its event is PS010");
        Tap.is(Tap.stateOf(() -> payments.inTransaction(entities -> {
            Payments.changeIn(entities, LockModeType.NONE, Payments.Flush.EVENT_FIRST, userId, -10, userId + "-1");
            entities.find(Balance.class, userId).balance -= 1;
            return null;
        })), "PS010", "so is one that its event does not explain");
        Tap.is(Tap.stateOf(() -> payments.inTransaction(entities -> {
            entities.find(Balance.class, userId, LockModeType.OPTIMISTIC_FORCE_INCREMENT);
            return null;
        })), "PS010", "and a version that was raised for nothing");
        Tap.is(Tap.stateOf(() -> payments.inTransaction(entities -> {
            Balance account = new Balance();
            account.aggregateId = mapper + "-persisted";
            entities.persist(account);
            return null;
        })), "42501", "an account is opened, not persisted");
        Tap.is(store.account(userId), "1 100", "nothing is left of them");
    }

    private void nativeQueries() throws Exception {
        String userId = open("native", 100);
        Tap.is(payments.trySpend(userId, userId, 60), new Wallet.Receipt("appended", 2, 40), "try_append_event by a native query");
        Tap.is(payments.trySpend(userId, userId, 60), new Wallet.Receipt("replayed", 2, 40), "once");
        Tap.is(payments.trySpend(userId, userId + "-2", 60), new Wallet.Receipt("insufficient_balance", 2, 40), "a refusal is an outcome");
        payments.inTransaction(entities -> {
            Balance account = entities.find(Balance.class, userId);
            Payments.receipt(entities.createNativeQuery("SELECT outcome, version, balance FROM pointstore.append_event(?1, 'PointEarned', 5)").setParameter(1, userId));
            entities.refresh(account);
            Tap.is(account.version + " " + account.balance, "3 45", "an entity is refreshed after it");
            return null;
        });
    }

    private void lost() throws Exception {
        String userId = open("lost", 100);
        store.proxy.loseAnswerTo("COMMIT");
        Tap.is(payments.change(userId, -10, userId + "-1") + " " + store.account(userId), "90 2 90", "the answer of COMMIT is lost: once");
        store.proxy.loseQuestion("COMMIT");
        Tap.is(payments.change(userId, -10, userId + "-2") + " " + store.account(userId), "80 3 80", "the COMMIT is lost: once");
        store.proxy.loseAnswerTo("COMMIT");
        Tap.is(payments.trySpend(userId, userId + "-3", 10).outcome() + " " + store.account(userId), "replayed 4 70", "likewise by the function");
        Tap.ok(store.proxy.hasLost(), "all that was lost was lost", "");
    }

    private void storm() throws Exception {
        int clients = 3, each = 10;
        String userId = open("storm", 1000);
        store.storm("shop_mapper", clients, each, 5, Payments::undoneOrUnknownOrFaster, (n, j, step) -> {
            String name = userId + "-" + n + "-" + j;
            step.take(() -> payments.changeLocked(userId, 10, name + "-earned"));
            step.take(() -> payments.change(userId, -3, name + "-spent"));
        });
        Tap.is(store.account(userId), (1 + clients * each * 2) + " " + (1000 + clients * each * 7), "nothing is lost, nothing doubled");
    }

    private static void await(CyclicBarrier barrier) {
        try {
            barrier.await(60, TimeUnit.SECONDS);
        } catch (Exception error) {
            throw new IllegalStateException(error);
        }
    }
}
