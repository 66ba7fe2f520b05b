% findall over certain facts and over a filter on the elements.
%% answer: cheap([pen, book])  0.4
%% answer: nothing([])  1

price(pen, 2).
price(book, 9).
price(bag, 30).

0.4::shop.
cheap(L) :- shop, findall(X, (price(X, P), P < 10), L).
nothing(L) :- findall(X, (price(X, P), P > 100), L).

query(cheap(_)).
query(nothing(_)).
