# pointstore: an event store with balances, see README.md
MODULE_big = pointstore
OBJS = $(patsubst %.c,%.o,$(wildcard src/*.c))
EXTENSION = pointstore
DATA = $(filter-out sql/pointstore--0.%,$(wildcard sql/pointstore--*.sql))
PGFILEDESC = "pointstore - event store with balances"
PG_CFLAGS = -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers -Werror

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

$(OBJS): src/pointstore.h src/compat.h
