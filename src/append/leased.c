/*-------------------------------------------------------------------------
 *
 * src/append/leased.c
 *		Events that are taken only from who holds their account's lease.
 *
 * The lease of account X is account:X. Whoever appends shows its token, as an argument or in pointstore.lease_token. It is looked
 * for under the account's lock, so that what was waited for counts; then it is kept from changing hands until
 * the transaction ends (account/lease.c). An argument is compared also where the kind asks for no lease; but that of a
 * transfer, which has two accounts, is for the one that asks.
 *
 * What is submitted brings the setting of its caller along.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"

#include "account/lease.h"
#include "account/lease_queue.h"
#include "append/leased.h"
#include "ground/identity.h"
#include "ground/name.h"
#include "ground/shard.h"
#include "ground/owner.h"

static char *lease_token = NULL;

static bool check_setting(char **value, void **extra, GucSource source);
static int	count_tokens(const char *list);
static bool read_token(const char **list, int64 *token);
static int	tokens_of(const ProposedEvent *event, int64 **tokens);
static bool asks_for_lease(const ProposedEvent *event, const Kind *kind);
static text *name_of_lease(text *aggregate_id);

/* Called once when the library is loaded. */
void
pointstore_leased_init(void)
{
	DefineCustomStringVariable("pointstore.lease_token",
							   "Tokens of leases that this session holds, separated by commas: for events of accounts whose kind has lease_required.",
							   NULL, &lease_token, "", PGC_USERSET, 0, check_setting, NULL, NULL);
}

/* Whole numbers, separated by commas, or nothing. */
static bool
check_setting(char **value, void **extra, GucSource source)
{
	const char *rest = *value;
	int64		token;

	while (rest != NULL && *rest != '\0')
		if (!read_token(&rest, &token))
		{
			GUC_check_errdetail("It must be a list of tokens, whole numbers, separated by commas.");
			return false;
		}
	return true;
}

/* The next of a list; false: that is none. */
static bool
read_token(const char **list, int64 *token)
{
	const char *begin = *list + strspn(*list, " \t\n");
	char	   *end;

	errno = 0;
	*token = strtoll(begin, &end, 10);
	if (end == begin || errno != 0)
		return false;
	end += strspn(end, " \t\n");
	if (*end == ',')
		end++;
	else if (*end != '\0')
		return false;
	*list = end;
	return true;
}

/* The session's, as it goes with what it submits. */
text *
pointstore_lease_setting(void)
{
	return cstring_to_text(lease_token != NULL ? lease_token : "");
}

/* Whether an event comes with a token. */
bool
pointstore_shows_token(const ProposedEvent *event)
{
	return event->has_lease_token ||
		(event->lease_tokens != NULL ? VARSIZE_ANY_EXHDR(event->lease_tokens) > 0 : lease_token != NULL && lease_token[0] != '\0');
}

/*
 * Learns whether the lease that an event asks for is not the caller's: account->lease_lost. If it is, it stays so until the transaction
 * ends. False, where busy is given: who is about to take it over would have to be waited for. To be called under the
 * account's lock, for each event.
 */
bool
pointstore_know_lease(const ProposedEvent *event, Account *account, const Kind *kind, bool *busy)
{
	Lease		lease = {0};
	int64	   *tokens;
	int			n;
	int			i;
	PointstoreScope scope;

	account->lease_lost = false;
	if (!asks_for_lease(event, kind))
		return true;
	n = tokens_of(event, &tokens);
	for (i = 0; account->lease_kept && i < n; i++)
		if (tokens[i] == account->lease_token)
			return true;
	lease.name = name_of_lease(account->id);
	if (!pointstore_is_here(lease.name))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a distributed store does not ask for the leases of accounts yet")));
	pointstore_act_as_owner_of_leases(&scope);
	account->lease_kept = pointstore_keep_lease(&lease, tokens, n, busy);
	pointstore_act_as_caller(&scope);
	account->lease_lost = !account->lease_kept;
	account->lease_token = lease.holder != NULL ? lease.token : 0;
	account->lease_shown = n > 0 ? tokens[0] : 0;
	return busy == NULL || !*busy;
}

/* A balance that is changed before its event asks for none: the event does. */
static bool
asks_for_lease(const ProposedEvent *event, const Kind *kind)
{
	if (event->event_type == NULL || event->any_lease || kind == NULL)
		return false;
	return kind->lease_required || (event->has_lease_token && !event->lease_if_asked);
}

/* The tokens that an event comes with: its argument, else those of the setting; a transfer's argument besides. */
static int
tokens_of(const ProposedEvent *event, int64 **tokens)
{
	const char *list = event->lease_tokens != NULL ? pointstore_cstring(event->lease_tokens) : lease_token != NULL ? lease_token : "";
	int			n = 0;

	*tokens = palloc(sizeof(int64) * (count_tokens(list) + 1));
	if (event->has_lease_token)
		(*tokens)[n++] = event->lease_token;
	if (!event->has_lease_token || event->lease_if_asked)
		while (*list != '\0' && read_token(&list, &(*tokens)[n]))
			n++;
	return n;
}

/* At most. */
static int
count_tokens(const char *list)
{
	int			n = 1;

	for (; *list != '\0'; list++)
		n += *list == ',';
	return n;
}

static text *
name_of_lease(text *aggregate_id)
{
	Size		prefix = strlen(LEASE_OF_ACCOUNT);
	Size		size = VARHDRSZ + prefix + VARSIZE_ANY_EXHDR(aggregate_id);
	text	   *name = palloc(size);

	SET_VARSIZE(name, size);
	memcpy(VARDATA(name), LEASE_OF_ACCOUNT, prefix);
	memcpy(VARDATA(name) + prefix, VARDATA_ANY(aggregate_id), VARSIZE_ANY_EXHDR(aggregate_id));
	return name;
}
