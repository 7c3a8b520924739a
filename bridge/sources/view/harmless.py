"""The functions that a view may call: those known to read their arguments and the clock, and to write nothing.

By kind of system, in the database's own spelling. What is not here an author may sign for with `allow` in the view's
header, but for what is known to write, to wait, to lock or to reach outside, whatever a transaction forbids.
"""

import re
from collections.abc import Mapping

_EVERYWHERE = """
    abs ceil ceiling floor round trunc truncate sign sqrt power pow exp ln log log10 mod pi degrees radians
    sin cos tan asin acos atan atan2 cot greatest least coalesce nullif
    upper lower trim ltrim rtrim char_length character_length octet_length length substring substr replace concat
    concat_ws left right lpad rpad position reverse repeat ascii chr cast extract translate
    count sum avg min max stddev stddev_pop stddev_samp variance var_pop var_samp
    row_number rank dense_rank percent_rank cume_dist ntile lag lead first_value last_value nth_value
    current_date current_time current_timestamp localtime localtimestamp grouping
"""
_POSTGRES = """
    cbrt div width_bucket scale min_scale trim_scale factorial gcd lcm to_hex to_oct to_bin
    btrim initcap split_part strpos starts_with overlay format md5 sha224 sha256 sha384 sha512 encode decode
    convert_from convert_to bit_length bit_count get_bit get_byte set_bit set_byte quote_ident quote_literal
    quote_nullable normalize unistr regexp_replace regexp_match regexp_matches regexp_split_to_array
    regexp_split_to_table regexp_count regexp_instr regexp_like regexp_substr string_to_array string_to_table
    to_char to_date to_number to_timestamp date_part date_trunc date_bin age now transaction_timestamp
    statement_timestamp clock_timestamp make_date make_time make_timestamp make_timestamptz make_interval
    justify_days justify_hours justify_interval isfinite timezone
    array_append array_cat array_dims array_fill array_length array_lower array_ndims array_position array_positions
    array_prepend array_remove array_replace array_to_string array_upper cardinality trim_array unnest
    array_agg string_agg bool_and bool_or bit_and bit_or bit_xor every any_value corr covar_pop covar_samp regr_slope
    regr_intercept regr_count mode percentile_cont percentile_disc num_nulls num_nonnulls row
    json_build_object json_build_array json_object json_agg json_object_agg row_to_json to_json array_to_json
    json_array_length json_array_elements json_array_elements_text json_each json_each_text json_extract_path
    json_extract_path_text json_object_keys json_typeof json_strip_nulls
    jsonb_build_object jsonb_build_array jsonb_object jsonb_agg jsonb_object_agg to_jsonb jsonb_array_length
    jsonb_array_elements jsonb_array_elements_text jsonb_each jsonb_each_text jsonb_extract_path
    jsonb_extract_path_text jsonb_object_keys jsonb_typeof jsonb_strip_nulls jsonb_set jsonb_insert jsonb_pretty
    jsonb_path_exists jsonb_path_match jsonb_path_query jsonb_path_query_array jsonb_path_query_first
    lower_inc upper_inc lower_inf upper_inf isempty range_merge host hostmask masklen netmask network text family
    inet_merge to_tsvector generate_series generate_subscripts int4range int8range numrange tsrange tstzrange daterange
"""
_MYSQL = """
    ifnull if isnull locate instr mid substring_index lcase ucase char hex unhex bin oct conv field find_in_set elt
    format space soundex strcmp to_base64 from_base64 md5 sha1 sha sha2 crc32 quote
    date time year month day dayofmonth dayofweek dayofyear weekday week weekofyear quarter hour minute second
    microsecond date_add date_sub adddate subdate addtime subtime datediff timediff timestampdiff timestampadd
    date_format time_format str_to_date from_unixtime unix_timestamp from_days to_days to_seconds makedate maketime
    last_day period_add period_diff convert_tz curdate curtime now utc_date utc_time utc_timestamp sysdate timestamp
    sec_to_time time_to_sec group_concat bit_and bit_or bit_xor std json_extract json_unquote json_object json_array
    json_value json_length json_keys json_type json_valid json_contains json_arrayagg json_objectagg convert binary
    regexp_replace regexp_substr regexp_instr regexp_like inet_ntoa inet_aton inet6_ntoa inet6_aton uncompress compress
    nvl nvl2 values interval bit_count
"""
_SQLITE = """
    ifnull iif instr hex unhex quote printf format unicode char typeof total group_concat string_agg glob like likely
    unlikely likelihood date time datetime julianday strftime unixepoch timediff json json_extract json_array
    json_object json_array_length json_type json_valid json_each json_tree json_group_array json_group_object
    zeroblob nullif acosh asinh atanh cosh sinh tanh
"""
_FIREBIRD = """
    list iif decode maxvalue minvalue ascii_char ascii_val bin_and bin_or bin_xor bin_not bin_shl bin_shr char_to_uuid
    uuid_to_char hash lpad rpad overlay dateadd datediff bit_length octets cosh sinh tanh
"""
_ORACLE = """
    nvl nvl2 decode to_char to_date to_number to_timestamp to_timestamp_tz to_clob sysdate systimestamp add_months
    months_between last_day next_day initcap instr lnnvl rawtohex hextoraw dump listagg regexp_replace regexp_substr
    regexp_instr regexp_like regexp_count numtodsinterval numtoyminterval new_time from_tz sys_extract_utc median
"""
_MSSQL = """
    isnull iif convert try_convert try_cast parse try_parse len datalength charindex patindex stuff replicate space str
    unicode nchar char string_agg concat_ws format datepart datename dateadd datediff datediff_big datefromparts
    datetimefromparts datetime2fromparts eomonth year month day getdate getutcdate sysdatetime sysutcdatetime
    sysdatetimeoffset switchoffset todatetimeoffset isnumeric isdate json_value json_query isjson hashbytes checksum
    stdev stdevp var varp count_big choose square
"""
_DB2 = """
    nvl value decode varchar char integer int bigint smallint decimal dec double real date time timestamp digits hex
    days dayofweek dayofyear year month day hour minute second microsecond locate posstr strip ucase lcase
    listagg varchar_format timestamp_format to_char to_date midnight_seconds julian_day last_day monthname dayname
"""


def _words(text: str) -> frozenset[str]:
    return frozenset((_EVERYWHERE + text).split())


FUNCTIONS: Mapping[str, frozenset[str]] = {
    "postgres": _words(_POSTGRES),
    "mysql": _words(_MYSQL),
    "sqlite": _words(_SQLITE),
    "firebird": _words(_FIREBIRD),
    "oracle": _words(_ORACLE),
    "mssql": _words(_MSSQL),
    "db2": _words(_DB2),
}
"""By the kind of system."""

# Nobody can sign for these: READ ONLY does not stop them, or they hold, wait, reach outside or change the session.
NEVER = re.compile(
    r"(.*\.)?(lo_\w+|loread|lowrite|set_config|nextval|setval|pg_(try_)?advisory\w*|pg_notify|pg_sleep\w*"
    r"|pg_logical_\w+|pg_replication_\w+|pg_create_\w+|pg_drop_\w+|pg_(terminate|cancel)_backend|pg_reload_conf"
    r"|pg_rotate_logfile\w*|pg_switch_wal|pg_promote|pg_read_\w*file\w*|pg_ls_\w+|pg_stat_reset\w*|pg_stat_file"
    r"|pg_export_snapshot|pg_import_\w+|pg_file_\w+|pg_start_backup|pg_backup_\w+|pg_wal_\w+|pg_prewarm|dblink\w*"
    r"|query_to_xml\w*|cursor_to_xml\w*|table_to_xml\w*|schema_to_xml\w*|database_to_xml\w*|ts_stat|ts_rewrite"
    r"|(xp|sp)_\w+|openrowset|opendatasource|openquery|get_lock|release_\w*lock\w*|is_\w+_lock|sleep|benchmark"
    r"|load_file|sys_exec|sys_eval|master_\w*wait|source_pos_wait|wait_\w+|load_extension|writefile|readfile|edit"
    r"|fts3_tokenizer|utl_\w+\.\w+|dbms_\w+\.\w+|httpuritype|gen_id|rdb\$set_context)",
    re.IGNORECASE,
)
