import javax.persistence.Column;
import javax.persistence.Entity;
import javax.persistence.Id;
import javax.persistence.Table;
import javax.persistence.Version;

/** An account's balance. It is opened by open_account(), not by persist(): a mapper's first version is its own. */
@Entity
@Table(schema = "pointstore", name = "balance")
public class Balance {
    @Id
    @Column(name = "aggregate_id")
    public String aggregateId;

    @Version                        // raised by 1 when the entity changes, and asked for in the UPDATE
    @Column(name = "version")
    public long version;

    @Column(name = "balance")
    public long balance;

    // what the store alone writes
    @Column(name = "held", insertable = false, updatable = false)
    public long held;

    @Column(name = "status", insertable = false, updatable = false)
    public String status;

    @Column(name = "state", insertable = false, updatable = false)
    public String state;
}
