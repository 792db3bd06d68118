# pointstore: an event store with balances, see README.md

# where this file is, also when it is built elsewhere
home := $(dir $(firstword $(MAKEFILE_LIST)))

MODULE_big = pointstore
OBJS = $(patsubst $(home)%.c,%.o,$(wildcard $(home)src/*.c $(home)src/*/*.c))
folders = $(sort $(dir $(addprefix $(CURDIR)/,$(OBJS))))
EXTENSION = pointstore
version := $(shell sed -n "s/^default_version = '\(.*\)'/\1/p" $(home)pointstore.control)
# from the ground up: a room calls those below it or beside it (test/env/house), and the
# install script is put together in this order
floors = ground account append guard money submit verify feed nodes workers
script_parts = $(addprefix $(home),src/ground/pointstore.sql) \
	$(filter-out %/src/ground/pointstore.sql,$(foreach floor,$(floors),$(sort $(wildcard $(home)src/$(floor)/*.sql)))) \
	$(addprefix $(home),src/pointstore.sql)
# the install script, and one from each earlier version to it
install_script = sql/pointstore--$(version).sql
update_scripts = $(patsubst $(home)src/updates/%.sql,sql/pointstore--%.sql,$(wildcard $(home)src/updates/*--*.sql))
DATA_built = $(install_script) $(update_scripts)
DOCS = $(patsubst $(home)%,%,$(wildcard $(home)doc/*.md))
override docmoduledir := pointstore
PGFILEDESC = "pointstore - event store with balances"
PG_CPPFLAGS = -I$(srcdir)/src -I$(libpq_srcdir) -DPOINTSTORE_VERSION='"$(version)"'
# the coordinator of movements is a client of other servers
SHLIB_LINK = $(libpq)
PG_CFLAGS = -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers -Werror
REGRESS = setup $(filter-out setup,$(foreach input,$(wildcard $(home)sql/*.sql),$(if $(findstring --,$(input)),,$(basename $(notdir $(input))))))
ISOLATION = setup $(filter-out setup,$(basename $(notdir $(wildcard $(home)test/specs/*.spec))))
ISOLATION_OPTS = --inputdir=$(srcdir)/test
EXTRA_CLEAN = .built-for $(wildcard sql/pointstore--*.sql pointstore-*.zip) test/unit/*.o test/unit/*.so
# bitcode would be inlined into queries; a library of triggers and lookups has no use for it
override with_llvm := no

PG_CONFIG ?= pg_config
export PG_CONFIG

# targets:
#   make, make install    builds the library, and installs it into the PostgreSQL of PG_CONFIG=...
#   make installcheck     regression and isolation tests, in a running server (PGHOST, PGUSER: a superuser)
#   make check            every test, on clusters of its own; SUITES="regress isolation pgtap tap": some
#   make soak             the models of the feed with ten minutes and a thousand kills, movements with 300, and test/soak, an hour of it; CHECK_FEED_SECONDS=, CHECK_KILLS=, CHECK_MOVEMENT_KILLS=, SOAK_EVENTS=, SOAK_MINUTES=: others
#   make check-examples   the examples, against brokers of their own; EXAMPLES="relay": some
#   make coverage         the same with gcov
#   make demo, demo-stop  a week of a loyalty programme on one screen, on a cluster of its own
#   make web, web-stop    the shop of examples/web on a cluster of its own, in a browser; PORT=8080: where
#   make wallets, wallets-stop   payments between three servers, one of which is killed every few seconds; WALLETS_SECONDS=30: for so long
#   make bench            against functions written by hand, in two hours; BENCH_PARTS="clients reconcile": some
#   make bench-quick      the same in two minutes
#   make dist             the sources and the scripts made from them as a .zip for PGXN
#   make clean            removes what was built

# What installs its packages itself, and runs clusters of its own.
scripts = help check soak check-examples coverage demo demo-stop web web-stop wallets wallets-stop bench bench-quick
.PHONY: $(scripts)
ifneq (,$(filter $(scripts),$(MAKECMDGOALS)))

help:
	@awk -F ' *# ' '/^# targets:/ { list = 1; next } !/^# / { list = 0 } list { print $$2 }' $(firstword $(MAKEFILE_LIST))
check:
	@test/env/check $(SUITES)
soak:
	@CHECK_SOAK=1 CHECK_KILLS=$${CHECK_KILLS:-1000} CHECK_FEED_SECONDS=$${CHECK_FEED_SECONDS:-600} test/env/check tap
	@set -e; for script in test/soak/*.sh; do CHECK_INSTALLED=1 $$script; done
check-examples:
	@test/env/check-examples $(EXAMPLES)
coverage:
	@test/env/coverage
demo:
	@test/demo/run
demo-stop:
	@test/demo/stop
web:
	@test/env/web
web-stop:
	@test/env/web stop
wallets:
	@test/env/wallets
wallets-stop:
	@test/env/wallets stop
bench:
	@test/bench/run
bench-quick:
	@test/bench/run quick

# goals of both kinds in one call
.NOTPARALLEL:
$(filter-out $(scripts),$(MAKECMDGOALS)):
	@$(MAKE) $@

else

PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)
ifeq (,$(wildcard $(PGXS)))
$(error $(PG_CONFIG) names no PostgreSQL with server headers (Debian: postgresql-server-dev-15); make check and make demo install it)
endif
include $(PGXS)

$(install_script): $(script_parts) $(home)pointstore.control
	@mkdir -p sql
	awk -v version=$(version) 'NR == 1 { print "/* made by make from the rooms of src/ */\n" } FNR == 1 && NR > 1 { print "" } { gsub(/@version@/, version); print }' $(script_parts) >$@
$(update_scripts): sql/pointstore--%.sql: src/updates/%.sql src/updates/update.awk $(install_script)
	@mkdir -p sql
	awk -f $(word 2,$^) $< $(lastword $^) >$@

# what PGXN takes: the sources as committed, and the scripts that make has made
distribution = pointstore-$(shell sed -n 's/^   "version": "\(.*\)",/\1/p' $(home)META.json)
dist: $(DATA_built)
	git -C $(home) archive --format=zip -o $(CURDIR)/$(distribution).zip --prefix=$(distribution)/sql/ \
		$(addprefix --add-file=$(CURDIR)/,$(DATA_built)) --prefix=$(distribution)/ HEAD
.PHONY: dist

$(OBJS): $(wildcard $(home)src/*.h $(home)src/*/*.h) $(home)pointstore.control .built-for | $(folders)
$(folders):
	mkdir -p $@

# the installation the objects are for: with another PG_CONFIG they are made anew
.built-for: FORCE
	@echo '$(VERSION) $(includedir_server)' | cmp -s - $@ || echo '$(VERSION) $(includedir_server)' >$@
.PHONY: FORCE

endif
