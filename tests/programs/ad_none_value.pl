% Values that sum to 0.8 leave 0.2 for none of them.
%% answer: bus  0.5
%% answer: train  0.3
%% answer: travels  0.8
%% answer: walks  0.2

0.5::bus; 0.3::train.

travels :- bus.
travels :- train.
walks :- \+ bus, \+ train.

query(bus).
query(train).
query(travels).
query(walks).
