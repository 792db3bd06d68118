import java.util.LinkedHashMap;
import java.util.Map;
import org.springframework.dao.DataAccessException;
import org.springframework.jdbc.core.JdbcTemplate;

/** Tests which of Spring's exceptions the store's SQLSTATEs are, without and with SpringErrors. */
final class SpringTest {
    public static void main(String[] arguments) throws Exception {
        Store store = new Store();
        store.ask("SELECT pointstore.append_event('spring-1', 'PointEarned', 100, request_id => 'spring-1')");
        store.ask("SELECT pointstore.append_event('spring-2', 'PointEarned', 100), pointstore.freeze_account('spring-2', 'test')");
        Map<String, String> refusals = new LinkedHashMap<>();
        refusals.put("PS001", "SELECT version FROM pointstore.append_event('spring-1', 'PointSpent', -1, expected_version => 7)");
        refusals.put("PS002", "SELECT version FROM pointstore.append_event('spring-1', 'PointEarned', 99, request_id => 'spring-1')");
        refusals.put("PS003", "SELECT version FROM pointstore.append_event('spring-1', 'PointSpent', -101)");
        refusals.put("PS004", "SELECT version FROM pointstore.append_event('spring-2', 'PointSpent', -1)");
        refusals.put("PS007", "SELECT version FROM pointstore.cancel_hold('spring-hold'); SELECT version FROM pointstore.hold('spring-1', 1, 'spring-hold')");
        refusals.put("PS008", "SELECT version FROM pointstore.confirm_hold('spring-none')");
        Map<String, String> plainly = new LinkedHashMap<>(), translated = new LinkedHashMap<>();
        JdbcTemplate plain = new JdbcTemplate(store.as("shop_app")), template = new JdbcTemplate(store.as("shop_app"));
        template.setExceptionTranslator(new SpringErrors(template.getDataSource()));
        for (Map.Entry<String, String> refusal : refusals.entrySet()) {
            plainly.put(refusal.getKey(), nameOf(plain, refusal.getValue()));
            translated.put(refusal.getKey(), nameOf(template, refusal.getValue()));
        }
        Tap.is(String.join(" ", new java.util.TreeSet<>(plainly.values())), "UncategorizedSQLException", "spring: knows none of the store's SQLSTATEs");
        Tap.is(translated.toString(), "{PS001=OptimisticLockingFailureException, PS002=InvalidDataAccessApiUsageException, PS003=Refused,"
                + " PS004=Refused, PS007=Refused, PS008=Refused}", "a translator of one's own does");
        try {
            template.queryForList(refusals.get("PS003"));
            Tap.ok(false, "a refusal says which it is", "");
        } catch (SpringErrors.Refused refused) {
            Tap.is(refused.sqlState, "PS003", "a refusal says which it is");
        }
        Map<String, String> others = new LinkedHashMap<>();
        for (String state : new String[] { "40001", "40P01", "55P03", "57014", "57P01", "08006", "53300", "23505", "22023", "42501", "55000" }) {
            others.put(state, nameOf(template, "DO $$BEGIN RAISE SQLSTATE '" + state + "'; END$$"));
        }
        Tap.is(others.toString(), "{40001=CannotSerializeTransactionException, 40P01=DeadlockLoserDataAccessException, 55P03=CannotAcquireLockException,"
                + " 57014=DataAccessResourceFailureException, 57P01=DataAccessResourceFailureException, 08006=DataAccessResourceFailureException,"
                + " 53300=DataAccessResourceFailureException, 23505=DuplicateKeyException, 22023=DataIntegrityViolationException,"
                + " 42501=BadSqlGrammarException, 55000=UncategorizedSQLException}", "others are as Spring has them");
        System.exit(Tap.failures == 0 ? 0 : 1);
    }

    private static String nameOf(JdbcTemplate template, String statements) {
        try {
            template.execute(statements);
            return "none";
        } catch (DataAccessException error) {
            return error.getClass().getSimpleName();
        }
    }
}
