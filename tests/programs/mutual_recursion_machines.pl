% Two machines can start each other; mutual recursion of two predicates.
%% answer: both  0.358
%% answer: client  0.388
%% answer: server  0.43

0.4::boot(server).
0.1::boot(client).
0.8::calls(server, client).
0.5::calls(client, server).

server :- boot(server).
server :- client, calls(client, server).
client :- boot(client).
client :- server, calls(server, client).
both :- server, client.

query(server).
query(client).
query(both).
