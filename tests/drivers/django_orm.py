"""Django: its migrations' schema editor, the ORM, atomic blocks, server-side cursors, over psycopg."""
import sys
import threading

# The scripts beside this one have the names of drivers.
del sys.path[0]

import django
from django.conf import settings

port, database = sys.argv[1:3]
settings.configure(
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": "127.0.0.1",
            "PORT": port,
            "NAME": database,
            "USER": "postgres",
            "PASSWORD": "password",
            "CONN_MAX_AGE": 60,
        }
    },
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    USE_TZ=True,
    TIME_ZONE="Asia/Tokyo",
)
django.setup()

from django.db import IntegrityError, connection, models, transaction  # noqa: E402


class Author(models.Model):
    name = models.CharField(max_length=40, unique=True)
    born = models.DateTimeField(null=True)
    data = models.JSONField(default=dict)

    class Meta:
        app_label = "library"


class Book(models.Model):
    title = models.TextField()
    author = models.ForeignKey(Author, on_delete=models.CASCADE)

    class Meta:
        app_label = "library"


with connection.schema_editor() as editor:
    editor.create_model(Author)
    editor.create_model(Book)
    pages = models.IntegerField(null=True)
    pages.set_attributes_from_name("pages")
    editor.add_field(Book, pages)

authors = Author.objects.bulk_create([Author(name=f"a{i}", data={"n": i}) for i in range(100)])
Book.objects.bulk_create([Book(title=f"t{a.name}", author=a) for a in authors])
assert Author.objects.filter(data__n__gt=89).count() == 10
assert Book.objects.select_related("author").get(title="ta7").author.name == "a7"
assert Author.objects.update_or_create(name="a1", defaults={"data": {"n": -1}})[1] is False
assert Author.objects.get_or_create(name="new")[1] is True

try:
    with transaction.atomic():
        Author.objects.create(name="rolled back")
        try:
            with transaction.atomic():
                Author.objects.create(name="a1")
        except IntegrityError:
            pass
        assert Author.objects.filter(name="rolled back").exists()
        raise KeyError
except KeyError:
    pass
assert not Author.objects.filter(name="rolled back").exists()

with transaction.atomic():
    locked = Author.objects.select_for_update().get(name="a5")
    locked.data = {"locked": True}
    locked.save()
assert Author.objects.get(name="a5").data == {"locked": True}

# Server-side cursors WITH HOLD outside a transaction, plain ones inside.
assert sum(1 for _ in Author.objects.iterator(chunk_size=7)) == 101
with transaction.atomic():
    assert sum(1 for _ in Author.objects.iterator(chunk_size=7)) == 101

with connection.cursor() as cursor:
    cursor.execute("SHOW TimeZone")
    assert cursor.fetchone() == ("UTC",)
    cursor.execute("SELECT %s::int", [5])
    assert cursor.fetchone() == (5,)


def work(number):
    for i in range(10):
        with transaction.atomic():
            Author.objects.create(name=f"thread {number} {i}")
        assert Author.objects.filter(name__startswith=f"thread {number} ").count() == i + 1
    connection.close()


threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert Author.objects.filter(name__startswith="thread ").count() == 80
assert Book.objects.all().delete()[0] == 100
assert Author.objects.all().delete()[0] == 181
assert set(connection.introspection.table_names()) == {"library_author", "library_book"}
