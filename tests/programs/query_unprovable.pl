% Ground queries without any proof have probability 0.
%% answer: have(flour)  0
%% answer: cake  0
%% answer: bread  0
%% answer: have(egg)  0.5

0.5::have(egg).
need(flour).

cake :- have(egg), have(flour).
bread :- need(X), have(X).

query(have(flour)).
query(cake).
query(bread).
query(have(egg)).
