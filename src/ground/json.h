/*-------------------------------------------------------------------------
 *
 * src/ground/json.h
 *		Members of JSON objects that are being made.
 *
 *-------------------------------------------------------------------------
 */
#ifndef POINTSTORE_JSON_H
#define POINTSTORE_JSON_H

#include "utils/jsonb.h"

extern void pointstore_push_key(JsonbParseState **state, const char *key);
extern void pointstore_push_value(JsonbParseState **state, const char *key, JsonbValue *value);
extern void pointstore_push_text(JsonbParseState **state, const char *key, text *value);
extern void pointstore_push_string(JsonbParseState **state, const char *key, const char *value);
extern void pointstore_push_number(JsonbParseState **state, const char *key, int64 value);
extern void pointstore_push_document(JsonbParseState **state, const char *key, Jsonb *value);

#endif							/* POINTSTORE_JSON_H */
