"""The build backend of the Python package: PEP 517 (and 660) in one file, so that nothing has to be fetched.

A wheel is the folder kiln/ with libkiln.so.0, libkilnsim.so.0 and the command kiln of the build folder in kiln/lib/, as ./bootstrap
build leaves them (KILN_BUILD names another folder). It carries them, rather than looking for build/ later, so that it works when the
source tree is gone; an editable install (pip install -e) has no copies and finds build/ by itself.
"""
import base64
import hashlib
import os
import re
import sysconfig
import zipfile

HERE = os.path.dirname(os.path.abspath(__file__))
PRODUCTS = (("libkiln.so.0", "libkiln.so.0"), ("libkilnsim.so.0", "libkilnsim.so.0"), ("kiln", "kiln"))


def _field(name):
    with open(os.path.join(HERE, "pyproject.toml"), encoding="utf-8") as f:
        return re.search(r'^%s = "(.*)"$' % name, f.read(), re.MULTILINE).group(1)


def _build_folder():
    folder = os.environ.get("KILN_BUILD") or os.path.normpath(os.path.join(HERE, "..", "..", "build"))
    missing = [name for name, _ in PRODUCTS if not os.path.exists(os.path.join(folder, name))]
    if missing:
        raise SystemExit("kiln: %s has no %s; run ./bootstrap build first, or let KILN_BUILD name the folder" % (folder, ", ".join(missing)))
    return folder


def _metadata():
    return "Metadata-Version: 2.1\nName: kiln\nVersion: %s\nSummary: %s\nRequires-Python: %s\nLicense: MIT\n" % (
        _field("version"), _field("description"), _field("requires-python"))


def _tag():
    return "py3-none-" + sysconfig.get_platform().replace("-", "_").replace(".", "_")


def _write(folder, files, tag):
    """files: (name in the wheel, bytes, mode). Adds metadata and the record; times are fixed, so that equal contents give equal wheels."""
    info = "kiln-%s.dist-info" % _field("version")
    name = "kiln-%s-%s.whl" % (_field("version"), tag)
    wheel = "Wheel-Version: 1.0\nGenerator: kiln backend\nRoot-Is-Purelib: %s\nTag: %s\n" % (str(tag.endswith("any")).lower(), tag)
    files = files + [(info + "/METADATA", _metadata().encode(), 0o644), (info + "/WHEEL", wheel.encode(), 0o644)]
    record = []
    with zipfile.ZipFile(os.path.join(folder, name), "w", zipfile.ZIP_DEFLATED) as z:
        for path, data, mode in files:
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            record.append("%s,sha256=%s,%d" % (path, digest, len(data)))
            _add(z, path, data, mode)
        record.append(info + "/RECORD,,")
        _add(z, info + "/RECORD", ("\n".join(record) + "\n").encode(), 0o644)
    return name


def _add(z, path, data, mode):
    entry = zipfile.ZipInfo(path, (2020, 1, 1, 0, 0, 0))
    entry.external_attr, entry.compress_type = (0o100000 | mode) << 16, zipfile.ZIP_DEFLATED
    z.writestr(entry, data)


def _read(path):
    with open(path, "rb") as f:
        return f.read()


def _sources():
    """The package's Python files, in order of name."""
    found = []
    for folder, subfolders, names in os.walk(os.path.join(HERE, "kiln")):
        subfolders.sort()
        for name in sorted(names):
            if name.endswith(".py"):
                path = os.path.join(folder, name)
                found.append((os.path.relpath(path, HERE), _read(path), 0o644))
    return found


# ---- what pip calls ----

def get_requires_for_build_wheel(config_settings=None):
    return []


get_requires_for_build_editable = get_requires_for_build_sdist = get_requires_for_build_wheel


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    folder = _build_folder()
    products = [("kiln/lib/" + to, _read(os.path.join(folder, name)), 0o755) for name, to in PRODUCTS]
    return _write(wheel_directory, _sources() + products, _tag())


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    return _write(wheel_directory, [("kiln.pth", (HERE + "\n").encode(), 0o644)], "py3-none-any")


def build_sdist(sdist_directory, config_settings=None):
    raise SystemExit("kiln: the package is built from the whole source tree; pip install ./runtime/python, or pip wheel ./runtime/python")
