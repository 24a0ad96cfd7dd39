-- Version 1 of the fleet's database. A step that was ever released is never edited: a change is a new step.
--
-- The step runs as an administrator who is a member of fleet_owner, with `search_path = fleet, public`, in one transaction.

SET LOCAL ROLE fleet_owner;
-- No function is for everybody, in later steps either.
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;

-- A machine. Its login may call the functions below, and nothing else.
CREATE TABLE host (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    name text NOT NULL UNIQUE,
    login name NOT NULL UNIQUE,
    dept text NOT NULL,
    -- The chain that the host appends to now; none until it has joined.
    stream uuid,
    enrolled_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    retired_at timestamptz
);

-- A chain of receipts: one for each time that a host has joined. The lock on its row makes each number unique.
CREATE TABLE stream (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    kind text NOT NULL CHECK (kind IN ('host', 'folder')),
    host uuid NOT NULL REFERENCES host,
    -- The host's Ed25519 key, pinned when it joined.
    public_key bytea NOT NULL CHECK (octet_length(public_key) = 32),
    -- Where the chain begins here: a host may have pruned its oldest receipts before it joined.
    base_seq bigint NOT NULL,
    base_hash bytea NOT NULL CHECK (octet_length(base_hash) = 32),
    head_seq bigint NOT NULL,
    head_hash bytea NOT NULL CHECK (octet_length(head_hash) = 32),
    -- The host's signature of its newest batch: over this stream, the head's number and its hash.
    head_sig bytea,
    opened_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    closed_at timestamptz
);
ALTER TABLE host ADD FOREIGN KEY (stream) REFERENCES stream;

-- A receipt with all fields that its hash is made of. No key can make (stream, seq) unique over partitions, so the function
-- `ship` alone writes here, under the lock of the stream's row.
CREATE TABLE receipt (
    stream uuid NOT NULL,
    seq bigint NOT NULL,
    attempt bigint NOT NULL,
    root bytea NOT NULL,
    path bytea NOT NULL,
    device bigint NOT NULL,
    inode bigint NOT NULL,
    file_size bigint NOT NULL,
    mtime bigint NOT NULL,
    ctime bigint NOT NULL,
    dest text NOT NULL,
    folder text NOT NULL,
    name text NOT NULL,
    started bigint NOT NULL,
    sha256 text NOT NULL,
    size bigint NOT NULL,
    document text NOT NULL,
    document_version text,
    account text NOT NULL,
    adopted boolean NOT NULL,
    stored bigint NOT NULL,
    hash bytea NOT NULL,
    received_at timestamptz NOT NULL
) PARTITION BY RANGE (received_at);
CREATE INDEX ON receipt (stream, seq);
CREATE INDEX ON receipt (sha256);
CREATE INDEX ON receipt (document);
CREATE INDEX ON receipt USING gin (name gin_trgm_ops);
-- Takes what no month has a partition for, so that no receipt is ever refused for that.
CREATE TABLE receipt_rest PARTITION OF receipt DEFAULT;

-- How each host was when it was last heard of. Updated in place: half of each page stays free for that.
CREATE TABLE beat (
    host uuid PRIMARY KEY REFERENCES host,
    at timestamptz NOT NULL,
    boot text NOT NULL,
    version text NOT NULL,
    -- The host's clock minus the database's, in milliseconds, with the time that the message was under way.
    clock_ms bigint NOT NULL,
    unshipped bigint NOT NULL,
    -- The age of the oldest receipt that is not shipped yet, in seconds.
    oldest_s bigint NOT NULL,
    failed bigint NOT NULL,
    waiting bigint NOT NULL,
    trouble text
) WITH (fillfactor = 50);

-- Which departments an auditor may read; '*' is all.
CREATE TABLE auditor (
    login name NOT NULL,
    dept text NOT NULL,
    PRIMARY KEY (login, dept)
);

-- --- What auditors may read ------------------------------------------------------------------------------------------

ALTER TABLE host ENABLE ROW LEVEL SECURITY;
ALTER TABLE stream ENABLE ROW LEVEL SECURITY;
ALTER TABLE receipt ENABLE ROW LEVEL SECURITY;
ALTER TABLE beat ENABLE ROW LEVEL SECURITY;
ALTER TABLE auditor ENABLE ROW LEVEL SECURITY;

CREATE POLICY own_departments ON auditor FOR SELECT TO fleet_auditor USING (login = session_user);
CREATE POLICY by_department ON host FOR SELECT TO fleet_auditor
    USING (EXISTS (SELECT FROM auditor WHERE auditor.dept IN (host.dept, '*')));
-- Each of these subqueries sees only what the policy of its table lets the auditor see.
CREATE POLICY by_department ON stream FOR SELECT TO fleet_auditor USING (host IN (SELECT id FROM host));
CREATE POLICY by_department ON receipt FOR SELECT TO fleet_auditor USING (stream IN (SELECT id FROM stream));
CREATE POLICY by_department ON beat FOR SELECT TO fleet_auditor USING (host IN (SELECT id FROM host));
GRANT SELECT ON host, stream, receipt, beat, auditor TO fleet_auditor;

-- --- Hashes ----------------------------------------------------------------------------------------------------------

-- A field: its length in bytes (8 bytes, big-endian), and its bytes.
CREATE FUNCTION field(bytea) RETURNS bytea LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN int8send(octet_length($1)::bigint) || $1;
CREATE FUNCTION field(text) RETURNS bytea LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN int8send(octet_length($1)::bigint) || convert_to($1, 'UTF8');
CREATE FUNCTION field(bigint) RETURNS bytea LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN '\x0000000000000008'::bytea || int8send($1);
CREATE FUNCTION flag(boolean) RETURNS bytea LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN CASE WHEN $1 THEN '\x000000000000000101'::bytea ELSE '\x000000000000000100'::bytea END;

-- The hash of a receipt after the one with the hash `prev`: the same bytes as in the hosts' journals.
CREATE FUNCTION receipt_hash(
    seq bigint, prev bytea, attempt bigint, root bytea, path bytea, device bigint, inode bigint, file_size bigint, mtime bigint,
    ctime bigint, dest text, folder text, name text, started bigint, sha256 text, size bigint, document text,
    document_version text, account text, adopted boolean, stored bigint
) RETURNS bytea LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN pg_catalog.sha256(
        field('astran-backup receipt 1'::text) || field(seq) || field(prev) || field(attempt) || field(root) || field(path)
        || field(device) || field(inode) || field(file_size) || field(mtime) || field(ctime) || field(dest) || field(folder)
        || field(name) || field(started) || field(sha256) || field(size) || field(document)
        || flag(document_version IS NOT NULL) || coalesce(field(document_version), ''::bytea) || field(account) || flag(adopted)
        || field(stored)
    );

-- --- What a host may do ----------------------------------------------------------------------------------------------
-- Each function knows the host by its login (session_user), which no function and no SET ROLE changes.

-- The host and chain of the calling login. AF001: not enrolled, or retired.
CREATE FUNCTION caller() RETURNS host LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = fleet, pg_temp AS $$
DECLARE
    found_host host;
BEGIN
    SELECT * INTO found_host FROM host WHERE login = session_user AND retired_at IS NULL;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the login % is of no host, or its host is retired', session_user USING ERRCODE = 'AF001';
    END IF;
    RETURN found_host;
END $$;

-- The end of the caller's chain as it is here; nothing where the host has not joined yet.
CREATE FUNCTION head(OUT stream uuid, OUT seq bigint, OUT hash bytea, OUT public_key bytea)
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = fleet, pg_temp AS $$
DECLARE
    host host := caller();
BEGIN
    SELECT s.id, s.head_seq, s.head_hash, s.public_key INTO stream, seq, hash, public_key FROM stream s WHERE s.id = host.stream;
END $$;

-- Pins the caller's key, once, and opens its chain. AF002: the host has joined already.
CREATE FUNCTION join_host(public_key bytea, base_seq bigint, base_hash bytea) RETURNS uuid
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = fleet, pg_temp AS $$
DECLARE
    host host := caller();
    opened uuid;
BEGIN
    SELECT * INTO host FROM host h WHERE h.id = host.id FOR UPDATE;
    IF host.stream IS NOT NULL THEN
        RAISE EXCEPTION 'the host % has joined already', host.name USING ERRCODE = 'AF002';
    END IF;
    INSERT INTO stream (kind, host, public_key, base_seq, base_hash, head_seq, head_hash)
        VALUES ('host', host.id, join_host.public_key, join_host.base_seq, join_host.base_hash, join_host.base_seq,
                join_host.base_hash)
        RETURNING id INTO opened;
    UPDATE host h SET stream = opened WHERE h.id = host.id;
    RETURN opened;
END $$;

-- Appends receipts to the caller's chain: those from `first` on, without a gap. Returns the new end's number.
-- AF003: `first` is not the next number. AF004: a hash is not that of its receipt.
CREATE FUNCTION ship(
    first bigint, attempts bigint[], roots bytea[], paths bytea[], devices bigint[], inodes bigint[], file_sizes bigint[],
    mtimes bigint[], ctimes bigint[], dests text[], folders text[], names text[], starts bigint[], sha256s text[],
    sizes bigint[], documents text[], document_versions text[], accounts text[], adoptions boolean[], storings bigint[],
    hashes bytea[], signature bytea
) RETURNS bigint LANGUAGE plpgsql SECURITY DEFINER SET search_path = fleet, pg_temp AS $$
DECLARE
    host host := caller();
    chain stream;
    newest bigint := first + array_length(hashes, 1) - 1;
    wrong bigint;
BEGIN
    SELECT * INTO chain FROM stream s WHERE s.id = host.stream FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the host % has not joined yet', host.name USING ERRCODE = 'AF001';
    END IF;
    IF first <> chain.head_seq + 1 OR newest IS NULL THEN
        RAISE EXCEPTION 'receipt % was sent, and the next one is %', first, chain.head_seq + 1 USING ERRCODE = 'AF003';
    END IF;
    SELECT min(first + i - 1) INTO wrong FROM (
        SELECT i, hash, receipt_hash(first + i - 1, lag(hash, 1, chain.head_hash) OVER (ORDER BY i), attempt, root, path, device,
            inode, file_size, mtime, ctime, dest, folder, name, started, sha256, size, document, document_version, account, adopted,
            stored) AS computed
        FROM unnest(attempts, roots, paths, devices, inodes, file_sizes, mtimes, ctimes, dests, folders, names, starts, sha256s,
            sizes, documents, document_versions, accounts, adoptions, storings, hashes) WITH ORDINALITY
            AS r (attempt, root, path, device, inode, file_size, mtime, ctime, dest, folder, name, started, sha256, size, document,
            document_version, account, adopted, stored, hash, i)
    ) checked WHERE computed IS DISTINCT FROM hash;
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION 'the hash of receipt % is not that of its fields and of the receipt before it', wrong
            USING ERRCODE = 'AF004';
    END IF;
    INSERT INTO receipt
        SELECT chain.id, first + i - 1, attempt, root, path, device, inode, file_size, mtime, ctime, dest, folder, name, started,
            sha256, size, document, document_version, account, adopted, stored, hash, clock_timestamp()
        FROM unnest(attempts, roots, paths, devices, inodes, file_sizes, mtimes, ctimes, dests, folders, names, starts, sha256s,
            sizes, documents, document_versions, accounts, adoptions, storings, hashes) WITH ORDINALITY
            AS r (attempt, root, path, device, inode, file_size, mtime, ctime, dest, folder, name, started, sha256, size, document,
            document_version, account, adopted, stored, hash, i);
    UPDATE stream s SET head_seq = newest, head_hash = hashes[array_length(hashes, 1)], head_sig = signature WHERE s.id = chain.id;
    RETURN newest;
END $$;

-- Notes how the caller is.
CREATE FUNCTION beat(
    boot text, version text, clock_ms bigint, unshipped bigint, oldest_s bigint, failed bigint, waiting bigint, trouble text
) RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = fleet, pg_temp AS $$
DECLARE
    host host := caller();
BEGIN
    INSERT INTO beat VALUES (host.id, clock_timestamp(), left(beat.boot, 64), left(beat.version, 64),
        beat.clock_ms - (extract(epoch FROM clock_timestamp()) * 1000)::bigint, beat.unshipped, beat.oldest_s, beat.failed,
        beat.waiting, left(beat.trouble, 500))
    ON CONFLICT ON CONSTRAINT beat_pkey DO UPDATE SET (at, boot, version, clock_ms, unshipped, oldest_s, failed, waiting, trouble) =
        (excluded.at, excluded.boot, excluded.version, excluded.clock_ms, excluded.unshipped, excluded.oldest_s, excluded.failed,
         excluded.waiting, excluded.trouble);
END $$;

-- --- What administrators do --------------------------------------------------------------------------------------------

-- Makes the partitions of this month and the next 24; those that are there stay. One for which the rest already holds receipts can't be
-- made any more, and is left out.
CREATE FUNCTION make_months() RETURNS void LANGUAGE plpgsql SET search_path = fleet, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    month timestamptz := date_trunc('month', now());
BEGIN
    FOR i IN 0..24 LOOP
        BEGIN
            EXECUTE format('CREATE TABLE IF NOT EXISTS %I PARTITION OF receipt FOR VALUES FROM (%L) TO (%L)',
                'receipt_' || to_char(month, 'YYYY_MM'), month, month + interval '1 month');
        EXCEPTION WHEN check_violation THEN
            RAISE NOTICE 'receipts of % stay in receipt_rest', month;
        END;
        month := month + interval '1 month';
    END LOOP;
END $$;

-- Forgets the receipts that were received in months before this day: drops their partitions. What each chain begins with from then on is
-- kept, so that the rest can still be checked. Returns how many months.
CREATE FUNCTION forget_before(day date) RETURNS integer LANGUAGE plpgsql SET search_path = fleet, pg_temp AS $$
DECLARE
    month regclass;
    forgotten integer := 0;
BEGIN
    FOR month IN SELECT c.oid::regclass FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'receipt'::regclass AND c.relname ~ '^receipt_\d{4}_\d\d$'
            AND to_date(right(c.relname, 7), 'YYYY_MM') + interval '1 month' <= day
        ORDER BY c.relname
    LOOP
        EXECUTE format('UPDATE stream s SET base_seq = r.seq, base_hash = r.hash FROM (SELECT DISTINCT ON (stream) stream, seq, hash
            FROM %s ORDER BY stream, seq DESC) r WHERE r.stream = s.id AND r.seq > s.base_seq', month);
        EXECUTE format('DROP TABLE %s', month);
        forgotten := forgotten + 1;
    END LOOP;
    RETURN forgotten;
END $$;

-- The first receipt of a chain that is missing, out of its place, or not that of its hash; nothing where the chain is whole. As the
-- caller, who must be able to read the receipts.
CREATE FUNCTION first_defect(checked stream) RETURNS bigint LANGUAGE sql STABLE SET search_path = fleet, pg_temp AS $$
    WITH chain AS (
        SELECT r.*, lag(hash, 1, checked.base_hash) OVER w AS prev, lag(seq, 1, checked.base_seq) OVER w AS before
        FROM receipt r WHERE stream = checked.id WINDOW w AS (ORDER BY seq)
    ), defects AS (
        SELECT least(seq, before + 1) AS seq FROM chain
            WHERE seq <> before + 1 OR seq > checked.head_seq OR hash IS DISTINCT FROM receipt_hash(seq, prev, attempt, root, path,
                device, inode, file_size, mtime, ctime, dest, folder, name, started, sha256, size, document, document_version, account,
                adopted, stored)
        UNION ALL
        SELECT coalesce(max(seq), checked.base_seq) + 1 FROM chain HAVING coalesce(max(seq), checked.base_seq) < checked.head_seq
        UNION ALL
        SELECT checked.head_seq FROM chain WHERE seq = checked.head_seq AND hash <> checked.head_hash
        UNION ALL
        SELECT checked.head_seq WHERE checked.head_seq = checked.base_seq AND checked.head_hash <> checked.base_hash
    )
    SELECT min(seq) FROM defects;
$$;

-- --- Views, for people and for dashboards --------------------------------------------------------------------------------

-- Each host, and how it was when it was last heard of.
CREATE VIEW host_status WITH (security_invoker) AS
    SELECT h.name, h.dept, h.enrolled_at, h.retired_at, s.opened_at AS joined_at, s.head_seq AS receipts, b.at AS heard_at,
        extract(epoch FROM clock_timestamp() - b.at)::bigint AS silent_s, b.boot, b.version, b.clock_ms, b.unshipped, b.oldest_s,
        b.failed, b.waiting, b.trouble
    FROM host h LEFT JOIN stream s ON s.id = h.stream LEFT JOIN beat b ON b.host = h.id;

-- Each receipt, with the host's name. Names that are no UTF-8 text are shown as `escape` shows them.
CREATE VIEW receipts WITH (security_invoker) AS
    SELECT h.name AS host, h.dept, r.stream, r.seq, r.name, r.dest, r.sha256, r.size, r.document, r.document_version, r.account, r.adopted,
        to_timestamp(r.stored / 1000000000.0) AS stored_at, r.root, r.path, r.received_at, r.hash
    FROM receipt r JOIN stream s ON s.id = r.stream JOIN host h ON h.id = s.host;

GRANT SELECT ON host_status, receipts TO fleet_auditor;

GRANT EXECUTE ON FUNCTION head, join_host, ship, beat TO fleet_host;
GRANT EXECUTE ON FUNCTION field(bytea), field(text), field(bigint), flag, receipt_hash, first_defect TO fleet_auditor;

SELECT make_months();
RESET ROLE;
